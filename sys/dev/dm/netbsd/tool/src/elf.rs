//! As much of ELF as a kernel object needs: 64 bits, little end first, relocatable.

/// A section's header, and where the header is.
#[derive(Clone, Debug)]
pub struct Section {
    pub name: String,
    pub kind: u32,
    pub flags: u64,
    pub offset: usize,
    pub size: usize,
    pub link: usize,
    name_at: usize,
}

pub const SYMTAB: u32 = 2;
pub const RELA: u32 = 4;
pub const NOBITS: u32 = 8;
pub const TLS: u64 = 0x400;

/// A symbol.
#[derive(Debug)]
pub struct Symbol {
    pub name: String,
    pub binding: u8,
    pub defined: bool,
}

/// The machine that an object is for.
pub const AMD64: u32 = 62;
pub const AARCH64: u32 = 183;

pub const LOCAL: u8 = 0;
pub const GLOBAL: u8 = 1;

/// An object in memory.
pub struct Object {
    pub bytes: Vec<u8>,
    pub sections: Vec<Section>,
}

fn number(bytes: &[u8], at: usize, size: usize) -> Result<u64, String> {
    let end = at.checked_add(size).ok_or("beyond the end")?;
    let part = bytes.get(at..end).ok_or("the file is too short")?;
    Ok(part.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn place(bytes: &[u8], at: usize, size: usize) -> Result<usize, String> {
    usize::try_from(number(bytes, at, size)?).map_err(|_| "beyond the end".to_string())
}

fn text(bytes: &[u8], at: usize) -> Result<String, String> {
    let rest = bytes.get(at..).ok_or("a name lies beyond the end")?;
    let end = rest.iter().position(|byte| *byte == 0).ok_or("a name has no end")?;
    Ok(String::from_utf8_lossy(&rest[..end]).into_owned())
}

impl Object {
    /// Reads the section headers.
    pub fn read(path: &str) -> Result<Self, String> {
        let bytes = std::fs::read(path).map_err(|why| format!("{path}: {why}"))?;
        Self::parse(bytes).map_err(|why| format!("{path}: {why}"))
    }

    fn parse(bytes: Vec<u8>) -> Result<Self, String> {
        if bytes.get(..6) != Some(b"\x7fELF\x02\x01") || number(&bytes, 16, 2)? != 1 {
            return Err("no relocatable object of 64 bits".to_string());
        }
        let (start, size) = (place(&bytes, 0x28, 8)?, place(&bytes, 0x3a, 2)?);
        let (count, names) = (place(&bytes, 0x3c, 2)?, place(&bytes, 0x3e, 2)?);
        let mut sections = Vec::new();
        for at in (0..count).map(|nr| start + nr * size) {
            sections.push(Section {
                name: String::new(),
                name_at: place(&bytes, at, 4)?,
                kind: number(&bytes, at + 4, 4)? as u32,
                flags: number(&bytes, at + 8, 8)?,
                offset: place(&bytes, at + 24, 8)?,
                size: place(&bytes, at + 32, 8)?,
                link: place(&bytes, at + 40, 4)?,
            });
        }
        let table = sections.get(names).ok_or("no section names")?.offset;
        for section in &mut sections {
            section.name = text(&bytes, table + section.name_at)?;
        }
        Ok(Self { bytes, sections })
    }

    /// The number of the machine it is for.
    pub fn machine(&self) -> Result<u32, String> {
        Ok(number(&self.bytes, 18, 2)? as u32)
    }

    pub fn of_kind(&self, kind: u32) -> impl Iterator<Item = &Section> {
        self.sections.iter().filter(move |section| section.kind == kind)
    }

    /// Where the type of each relocation stands, and the type.
    pub fn relocations(&self) -> Result<Vec<(usize, u32)>, String> {
        let mut found = Vec::new();
        for section in self.of_kind(RELA) {
            for at in (section.offset..section.offset + section.size).step_by(24) {
                found.push((at + 8, number(&self.bytes, at + 8, 4)? as u32));
            }
        }
        Ok(found)
    }

    pub fn symbols(&self) -> Result<Vec<Symbol>, String> {
        let mut found = Vec::new();
        for section in self.of_kind(SYMTAB) {
            let names = self.sections.get(section.link).ok_or("no symbol names")?.offset;
            for at in (section.offset..section.offset + section.size).step_by(24).skip(1) {
                found.push(Symbol {
                    name: text(&self.bytes, names + place(&self.bytes, at, 4)?)?,
                    binding: number(&self.bytes, at + 4, 1)? as u8 >> 4,
                    defined: number(&self.bytes, at + 6, 2)? != 0,
                });
            }
        }
        Ok(found)
    }
}
