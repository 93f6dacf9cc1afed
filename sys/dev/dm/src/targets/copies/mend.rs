//! What is to be written again, since it could not be read.

/// Places that could not be read and are to be written again.
#[derive(Default)]
pub struct Mends {
    places: [Option<Mend>; Self::ROOM],
}

/// A place that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mend {
    pub at: u64,
    pub count: u64,
    pub copy: usize,
}

impl Mends {
    /// What does not fit is mended when it fails again.
    const ROOM: usize = 16;

    /// Adds a place, unless it is there.
    pub fn push(&mut self, mend: Mend) {
        if self.places.contains(&Some(mend)) {
            return;
        }
        if let Some(room) = self.places.iter_mut().find(|place| place.is_none()) {
            *room = Some(mend);
        }
    }

    /// Takes one.
    pub fn pop(&mut self) -> Option<Mend> {
        self.places.iter_mut().find_map(Option::take)
    }
}
