//! Between proplib(3)'s objects and the protocol's dictionaries.

use crate::sys;
use crate::thread::c_string;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ffi::{CStr, c_char, c_void};
use core::ptr::NonNull;
use core::slice;
use dm::protocol::{Dict, Errno, Value, key};

/// How deep a request may nest.
const DEPTH: usize = 8;

/// An object that is ours to release.
///
/// # Invariants
/// `object` is a live object of proplib, counted once for us.
pub struct Owned {
    object: NonNull<c_void>,
}

impl Owned {
    /// # Safety
    /// Null, or an object that the caller owns and gives up.
    pub unsafe fn new(object: *mut c_void) -> Option<Self> {
        NonNull::new(object).map(|object| Self { object })
    }

    pub const fn get(&self) -> *mut c_void {
        self.object.as_ptr()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: ours (type invariant).
        unsafe { sys::prop_object_release(self.get().cast()) };
    }
}

/// What a client sent.
pub fn dictionary(request: &Owned) -> Result<Dict, Errno> {
    // SAFETY: alive while `request` is.
    match unsafe { value(request.get(), DEPTH) }? {
        Value::Dict(dict) => Ok(dict),
        _ => Err(Errno::EINVAL),
    }
}

/// # Safety
/// A C string.
unsafe fn text(string: *const c_char) -> Result<String, Errno> {
    if string.is_null() {
        return Err(Errno::EINVAL);
    }
    // SAFETY: the caller's contract.
    let string = unsafe { CStr::from_ptr(string) };
    string.to_str().map(ToString::to_string).map_err(|_| Errno::EILSEQ)
}

/// # Safety
/// A live object of proplib.
unsafe fn value(object: *mut c_void, depth: usize) -> Result<Value, Errno> {
    let depth = depth.checked_sub(1).ok_or(Errno::EINVAL)?;
    // SAFETY: the caller's contract, here and below.
    let kind = unsafe { sys::prop_object_type(object.cast()) };
    Ok(match kind {
        // SAFETY: of this type.
        sys::PROP_TYPE_BOOL => Value::Bool(unsafe { sys::prop_bool_true(object.cast()) }),
        // SAFETY: of this type.
        sys::PROP_TYPE_NUMBER => unsafe { number(object) },
        sys::PROP_TYPE_STRING => {
            // SAFETY: of this type.
            let string = unsafe { sys::prop_string_cstring_nocopy(object.cast()) };
            // SAFETY: proplib's strings are C strings.
            Value::String(unsafe { text(string) }?)
        }
        // SAFETY: of this type.
        sys::PROP_TYPE_DATA => Value::Data(unsafe { data(object) }),
        // SAFETY: of this type.
        sys::PROP_TYPE_ARRAY => unsafe { array(object, depth) }?,
        // SAFETY: of this type.
        sys::PROP_TYPE_DICTIONARY => unsafe { pairs(object, depth) }?,
        _ => return Err(Errno::EINVAL),
    })
}

/// # Safety
/// A live number.
unsafe fn number(object: *mut c_void) -> Value {
    // SAFETY: the caller's contract.
    match unsafe { sys::prop_number_unsigned(object.cast()) } {
        true => {
            // SAFETY: the caller's contract.
            Value::Unsigned(unsafe { sys::prop_number_unsigned_integer_value(object.cast()) })
        }
        false => {
            // SAFETY: the caller's contract.
            Value::from(unsafe { sys::prop_number_integer_value(object.cast()) })
        }
    }
}

/// # Safety
/// A live data object.
unsafe fn data(object: *mut c_void) -> Vec<u8> {
    // SAFETY: the caller's contract.
    let size = unsafe { sys::prop_data_size(object.cast()) };
    // SAFETY: the caller's contract.
    let start = unsafe { sys::prop_data_data_nocopy(object.cast()) };
    if start.is_null() {
        return Vec::new();
    }
    // SAFETY: the object holds so many bytes.
    unsafe { slice::from_raw_parts(start.cast::<u8>(), size) }.to_vec()
}

/// # Safety
/// A live array.
unsafe fn array(object: *mut c_void, depth: usize) -> Result<Value, Errno> {
    // SAFETY: the caller's contract.
    let count = unsafe { sys::prop_array_count(object.cast()) };
    let each = (0..count).map(|at| {
        // SAFETY: the caller's contract.
        let element = unsafe { sys::prop_array_get(object.cast(), at) };
        if element.is_null() {
            return Err(Errno::EINVAL);
        }
        // SAFETY: alive while the array is.
        unsafe { value(element.cast(), depth) }
    });
    each.collect::<Result<Vec<_>, _>>().map(Value::Array)
}

/// # Safety
/// A live dictionary.
unsafe fn pairs(object: *mut c_void, depth: usize) -> Result<Value, Errno> {
    // SAFETY: the caller's contract.
    let keys = unsafe { sys::prop_dictionary_all_keys(object.cast()) };
    // SAFETY: a new list, ours.
    let keys = unsafe { Owned::new(keys.cast()) }.ok_or(Errno::ENOMEM)?;
    let mut dict = Dict::new();
    // SAFETY: a live array.
    let count = unsafe { sys::prop_array_count(keys.get().cast()) };
    for at in 0..count {
        // SAFETY: a live array of keys.
        let symbol = unsafe { sys::prop_array_get(keys.get().cast(), at) };
        // SAFETY: a key of this dictionary.
        let held = unsafe { sys::prop_dictionary_get_keysym(object.cast(), symbol.cast()) };
        // SAFETY: a live key.
        let name = unsafe { sys::prop_dictionary_keysym_cstring_nocopy(symbol.cast()) };
        if held.is_null() {
            continue;
        }
        // SAFETY: proplib's keys are C strings.
        let name = key::intern(&unsafe { text(name) }?);
        // SAFETY: alive while the dictionary is.
        dict.set(name, unsafe { value(held.cast(), depth) }?);
    }
    Ok(Value::Dict(dict))
}

/// What a client gets.
pub fn object(value: &Value) -> Result<Owned, Errno> {
    let object: *mut c_void = match value {
        // SAFETY: all of these make a new object, or none.
        Value::Bool(truth) => unsafe { sys::prop_bool_create(*truth) }.cast(),
        Value::Unsigned(number) => {
            // SAFETY: as above.
            unsafe { sys::prop_number_create_unsigned_integer(*number) }.cast()
        }
        // SAFETY: as above.
        Value::Signed(number) => unsafe { sys::prop_number_create_integer(*number) }.cast(),
        Value::String(text) => {
            let text = c_string(text);
            // SAFETY: a C string, which is copied.
            unsafe { sys::prop_string_create_cstring(text.as_ptr().cast()) }.cast()
        }
        Value::Data(bytes) => {
            // SAFETY: so many bytes, which are copied.
            unsafe { sys::prop_data_create_data(bytes.as_ptr().cast(), bytes.len()) }.cast()
        }
        Value::Array(values) => return list(values),
        Value::Dict(dict) => return table(dict),
    };
    // SAFETY: just made.
    unsafe { Owned::new(object) }.ok_or(Errno::ENOMEM)
}

fn list(values: &[Value]) -> Result<Owned, Errno> {
    let room = u32::try_from(values.len()).unwrap_or(u32::MAX);
    // SAFETY: makes a new object, or none.
    let list = unsafe { sys::prop_array_create_with_capacity(room) };
    // SAFETY: just made.
    let list = unsafe { Owned::new(list.cast()) }.ok_or(Errno::ENOMEM)?;
    for value in values {
        let element = object(value)?;
        // SAFETY: both are live; the array counts the element for itself.
        let added = unsafe { sys::prop_array_add(list.get().cast(), element.get().cast()) };
        if !added {
            return Err(Errno::ENOMEM);
        }
    }
    Ok(list)
}

fn table(dict: &Dict) -> Result<Owned, Errno> {
    // SAFETY: makes a new object, or none.
    let table = unsafe { sys::prop_dictionary_create() };
    // SAFETY: just made.
    let table = unsafe { Owned::new(table.cast()) }.ok_or(Errno::ENOMEM)?;
    for (name, value) in dict.iter() {
        let (name, held) = (c_string(name), object(value)?);
        let place = name.as_ptr().cast();
        // SAFETY: both are live, and a C string; the dictionary counts the value for itself.
        let set = unsafe { sys::prop_dictionary_set(table.get().cast(), place, held.get().cast()) };
        if !set {
            return Err(Errno::ENOMEM);
        }
    }
    Ok(table)
}
