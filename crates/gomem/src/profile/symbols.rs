//! What addresses of code belong to: loaded objects with their build ids, and names where the dynamic linker knows them.

use std::ffi::{CStr, c_int, c_void};
use std::fmt;
use std::ops::Range;
use std::path::Path;

/// A part of a loaded object that holds code.
#[derive(Clone, Debug)]
pub struct Object {
    /// The pages that it lies in.
    pub range: Range<usize>,
    /// Where the first of them lies in the file.
    pub offset: u64,
    /// The path of the file.
    pub path: String,
    /// In hexadecimal; empty if it has none.
    pub build_id: String,
}

/// All of them.
#[derive(Clone, Debug)]
pub struct Objects(Vec<Object>);

impl Objects {
    /// Those that are loaded now.
    pub fn loaded() -> Objects {
        let mut objects = Objects(Vec::new());
        // SAFETY: a function for this purpose, and its argument.
        unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut objects).cast()) };
        objects
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Object> {
        self.0.iter()
    }

    /// The index of the object that an address belongs to.
    pub fn position(&self, pc: usize) -> Option<usize> {
        self.0.iter().position(|object| object.range.contains(&pc))
    }
}

unsafe extern "C" fn add(
    info: *mut libc::dl_phdr_info,
    _: libc::size_t,
    objects: *mut c_void,
) -> c_int {
    // SAFETY: what the linker passes, and what `loaded` does.
    let (info, objects) = unsafe { (&*info, &mut *objects.cast::<Objects>()) };
    if info.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: so many headers.
    let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize) };
    let base = info.dlpi_addr as usize;
    let mut path = String::new();
    if !info.dlpi_name.is_null() {
        // SAFETY: a C string.
        path = unsafe { CStr::from_ptr(info.dlpi_name) }
            .to_string_lossy()
            .into_owned();
    }
    if path.is_empty() {
        path = std::fs::read_link("/proc/self/exe")
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
    }
    let mut build_id = String::new();
    for header in headers
        .iter()
        .filter(|header| header.p_type == libc::PT_NOTE)
    {
        let start = base.wrapping_add(header.p_vaddr as usize);
        // SAFETY: a segment of a loaded object, which is mapped.
        let notes = unsafe {
            let start = std::ptr::with_exposed_provenance::<u8>(start);
            std::slice::from_raw_parts(start, header.p_memsz as usize)
        };
        if let Some(id) = find_build_id(notes, header.p_align as usize) {
            build_id = id.iter().map(|byte| format!("{byte:02x}")).collect();
        }
    }
    for header in headers {
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0 {
            let within = header.p_vaddr as usize % 4096;
            let start = base.wrapping_add(header.p_vaddr as usize - within);
            objects.0.push(Object {
                range: start..start + (within + header.p_memsz as usize).next_multiple_of(4096),
                offset: header.p_offset - within as u64,
                path: path.clone(),
                build_id: build_id.clone(),
            });
        }
    }
    0
}

/// The build id among notes: three words (lengths of name and value, and a type), the name, the value, both padded.
fn find_build_id(mut notes: &[u8], align: usize) -> Option<&[u8]> {
    const BUILD_ID: u32 = 3;
    let align = align.max(4);
    loop {
        let (head, rest) = notes.split_at_checked(12)?;
        let word = |at| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (name_len, len) = (word(0) as usize, word(4) as usize);
        let name_end = (12 + name_len).next_multiple_of(align) - 12;
        let value = rest.get(name_end..name_end.checked_add(len)?)?;
        if word(8) == BUILD_ID && rest.get(..name_len)? == b"GNU\0" {
            return Some(value);
        }
        let end = (12 + name_end + len).next_multiple_of(align) - 12;
        notes = rest.get(end..)?;
    }
}

fn look_up(pc: usize) -> Option<libc::Dl_info> {
    // SAFETY: plain data, for which zero is valid.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: any address may be asked about.
    let known = unsafe { libc::dladdr(std::ptr::without_provenance(pc), &mut info) };
    (known != 0).then_some(info)
}

/// The function that an address lies in, if its name is among those that the dynamic linker knows.
pub(super) fn name(pc: usize) -> Option<String> {
    let info = look_up(pc)?;
    if info.dli_sname.is_null() {
        return None;
    }
    // SAFETY: a C string of a loaded object.
    Some(
        unsafe { CStr::from_ptr(info.dli_sname) }
            .to_string_lossy()
            .into_owned(),
    )
}

/// Writes a line about an address: function, file, and the place in the file as `addr2line` takes it.
pub(super) fn write(out: &mut dyn fmt::Write, pc: usize) -> fmt::Result {
    let Some(info) = look_up(pc) else {
        return writeln!(out, "    {pc:#x}");
    };
    let text = |text: *const std::ffi::c_char| {
        // SAFETY: null or a C string of a loaded object.
        let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) });
        text.unwrap_or(c"?").to_str().unwrap_or("?")
    };
    let file = Path::new(text(info.dli_fname));
    let offset = pc.wrapping_sub(info.dli_fbase.addr());
    writeln!(
        out,
        "    {} in {} +{offset:#x}",
        text(info.dli_sname),
        file.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_ids_are_found_behind_other_notes() {
        let note = |kind: u32, name: &[u8], value: &[u8]| {
            let mut bytes = Vec::new();
            for word in [name.len() as u32, value.len() as u32, kind] {
                bytes.extend(word.to_ne_bytes());
            }
            for part in [name, value] {
                bytes.extend(part);
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
            bytes
        };
        let mut notes = note(1, b"GNU\0", &[1, 2, 3]);
        notes.extend(note(3, b"Go\0", &[4; 5]));
        assert_eq!(find_build_id(&notes, 4), None);
        notes.extend(note(3, b"GNU\0", &[7; 20]));
        assert_eq!(find_build_id(&notes, 4), Some(&[7; 20][..]));
        assert_eq!(find_build_id(&notes[..notes.len() - 1], 4), None);
    }
}
