//! What the C library says about itself: private functions, and the field descriptors it keeps for debuggers.
//!
//! A debugger's thread library (`libthread_db`) must find the fields of `struct pthread` in a process whose libc it was not
//! built with. For that glibc exports a descriptor per field, `_thread_db_*`: three 32-bit words, the field's size in
//! bits, its number of elements and its byte offset. They are the same facts that are needed here, kept true by
//! glibc's own build for each version.

use core::ffi::{CStr, c_void};

use super::unsupported::Unsupported;

/// The exported functions and facts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Symbols {
    /// Gives the thread block at the address its dynamic thread vector and fills in the images of the static modules.
    pub(super) allocate_tls: unsafe extern "C" fn(*mut u8) -> *mut u8,
    /// Frees what `allocate_tls` allocated, and the dynamic modules' thread-locals; with `false`, not the block.
    pub(super) deallocate_tls: unsafe extern "C" fn(*mut u8, bool),
    /// Runs the destructors that C++ and Rust registered for thread-locals.
    pub(super) call_tls_dtors: unsafe extern "C" fn(),
    /// The libc's own thread-local pointer to the resolver's state, in the calling thread.
    pub(super) resolver_pointer: *mut *mut u8,
    /// Bytes of all static thread-locals, the space kept for later libraries and the descriptor included.
    pub(super) static_bytes: usize,
    /// Alignment of the thread pointer.
    pub(super) alignment: usize,
    /// Bytes of the thread descriptor, `struct pthread`, which starts at the thread pointer.
    pub(super) descriptor_bytes: usize,
    /// The pointer to the dynamic thread vector.
    pub(super) dtv: usize,
    /// The thread's number, which owners of recursive mutexes are known by.
    pub(super) tid: usize,
    /// The links of the list of all threads.
    pub(super) list: usize,
    /// The first-level table of `pthread_setspecific` values.
    pub(super) specific: usize,
    /// Layout of those tables.
    pub(super) keys: KeyLayout,
    /// The area registered with the kernel for restartable sequences: its distance from the thread pointer and size.
    pub(super) rseq: Option<(isize, usize)>,
}

/// How values of `pthread_setspecific` are stored, and where the destructors are.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyLayout {
    /// Bytes of one value with its sequence number.
    pub(super) value_bytes: usize,
    /// Where in it the value is.
    pub(super) value: usize,
    /// Values per second-level table.
    pub(super) values_per_table: usize,
    /// Second-level tables.
    pub(super) tables: usize,
    /// Bytes of one entry of the process-wide table of keys.
    pub(super) key_bytes: usize,
    /// Where in it the destructor is.
    pub(super) destructor: usize,
}

/// A field descriptor, as `nptl_db/db_info.c` of glibc lays it out.
#[repr(C)]
#[derive(Clone, Copy)]
struct Field {
    bits: u32,
    count: u32,
    offset: u32,
}

fn find(name: &'static CStr) -> Result<*mut c_void, Unsupported> {
    // SAFETY: `dlsym` with the default scope and a terminated string.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    if address.is_null() {
        return Err(Unsupported::MissingSymbol {
            name: name.to_str().unwrap_or("?"),
        });
    }
    Ok(address)
}

fn field(name: &'static CStr) -> Result<Field, Unsupported> {
    // SAFETY: symbols of this family are descriptors of three words.
    Ok(unsafe { find(name)?.cast::<Field>().read() })
}

/// The byte offset of a field, which must be `bits` wide.
fn offset(name: &'static CStr, bits: u32, fact: &'static str) -> Result<usize, Unsupported> {
    let field = field(name)?;
    if field.bits != bits {
        return Err(Unsupported::UnknownLayout { fact });
    }
    Ok(field.offset as usize)
}

/// A size: such descriptors are a single word.
fn size(name: &'static CStr) -> Result<usize, Unsupported> {
    // SAFETY: symbols of this family are one word.
    Ok(unsafe { find(name)?.cast::<u32>().read() } as usize)
}

impl Symbols {
    /// Looks everything up.
    pub(super) fn find() -> Result<Self, Unsupported> {
        // SAFETY: the declared types are those of glibc, `sysdeps/generic/ldsodefs.h` and `include/stdlib.h`. A flag that
        // a version of glibc does not know yet travels in a register that it does not read.
        let (static_info, allocate_tls, deallocate_tls, call_tls_dtors) = unsafe {
            (
                core::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut usize, *mut usize)>(
                    find(c"_dl_get_tls_static_info")?,
                ),
                core::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut u8) -> *mut u8>(
                    find(c"_dl_allocate_tls")?,
                ),
                core::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut u8, bool)>(find(
                    c"_dl_deallocate_tls",
                )?),
                core::mem::transmute::<*mut c_void, unsafe extern "C" fn()>(find(
                    c"__call_tls_dtors",
                )?),
            )
        };
        let (mut static_bytes, mut alignment) = (0, 0);
        // SAFETY: the function writes two words.
        unsafe { static_info(&mut static_bytes, &mut alignment) };

        let specific = field(c"_thread_db_pthread_specific")?;
        let table = field(c"_thread_db_pthread_key_data_level2_data")?;
        let key = field(c"_thread_db___pthread_keys")?;
        let keys = KeyLayout {
            value_bytes: size(c"_thread_db_sizeof_pthread_key_data")?,
            value: offset(
                c"_thread_db_pthread_key_data_data",
                64,
                "thread-specific values of 64 bits",
            )?,
            values_per_table: table.count as usize,
            tables: specific.bits as usize / 64,
            key_bytes: key.bits as usize / 8,
            destructor: offset(
                c"_thread_db_pthread_key_struct_destr",
                64,
                "destructors of 64 bits",
            )?,
        };
        let symbols = Self {
            allocate_tls,
            deallocate_tls,
            call_tls_dtors,
            resolver_pointer: find(c"__resp")?.cast(),
            static_bytes,
            alignment,
            descriptor_bytes: size(c"_thread_db_sizeof_pthread")?,
            dtv: offset(
                c"_thread_db_pthread_dtvp",
                64,
                "a dynamic thread vector's pointer of 64 bits",
            )?,
            tid: offset(c"_thread_db_pthread_tid", 32, "a thread number of 32 bits")?,
            list: offset(c"_thread_db_pthread_list", 128, "two links of 64 bits")?,
            specific: specific.offset as usize,
            keys,
            rseq: rseq_area()?,
        };
        symbols.check()?;
        Ok(symbols)
    }

    /// Bytes of the static area, which ends at the thread pointer.
    pub(super) fn below(&self) -> usize {
        self.static_bytes - self.descriptor_bytes
    }

    fn check(&self) -> Result<(), Unsupported> {
        let unknown = |fact| Err(Unsupported::UnknownLayout { fact });
        let vector_entry = field(c"_thread_db_dtv_dtv")?;
        let vector_value = field(c"_thread_db_dtv_t_pointer_val")?;
        let list_links = size(c"_thread_db_sizeof_list_t")?;
        if vector_entry.bits != 128 || vector_value.offset != 0 {
            return unknown("entries of two words in the dynamic thread vector");
        }
        if list_links != 16 {
            return unknown("a thread list of two links");
        }
        if !self.alignment.is_power_of_two() || self.alignment > crate::env::PAGE {
            return unknown(
                "an alignment of the thread pointer that is a power of two, up to a page",
            );
        }
        let words = [
            self.dtv,
            self.list,
            self.list + 8,
            self.specific,
            self.specific + self.keys.tables * 8 - 8,
        ];
        if words
            .iter()
            .any(|at| !at.is_multiple_of(8) || at + 8 > self.descriptor_bytes)
            || self.tid + 4 > self.descriptor_bytes
        {
            return unknown("the described fields inside the thread descriptor");
        }
        if !self.descriptor_bytes.is_multiple_of(8) || self.static_bytes < self.descriptor_bytes {
            return unknown("a thread descriptor of whole words, counted in the static size");
        }
        if !self.keys.value_bytes.is_multiple_of(8)
            || self.keys.value + 8 > self.keys.value_bytes
            || !self.keys.key_bytes.is_multiple_of(8)
        {
            return unknown("thread-specific values of whole words");
        }
        if let Some((offset, bytes)) = self.rseq {
            let below = self.below() as isize;
            if offset < -below || offset + bytes as isize > self.descriptor_bytes as isize {
                return unknown("the restartable-sequence area inside the thread block");
            }
        }
        Ok(())
    }
}

/// glibc 2.35 and newer keep an area for restartable sequences, also when registration is turned off (size zero): programs
/// look there for the CPU's number first.
fn rseq_area() -> Result<Option<(isize, usize)>, Unsupported> {
    let (Ok(offset), Ok(size)) = (find(c"__rseq_offset"), find(c"__rseq_size")) else {
        return Ok(None);
    };
    // SAFETY: glibc declares `const ptrdiff_t __rseq_offset; const unsigned int __rseq_size`.
    let (offset, size) = unsafe {
        (
            offset.cast::<isize>().read(),
            size.cast::<u32>().read() as usize,
        )
    };
    /// `cpu_id_start`, `cpu_id`, `rseq_cs`, `flags`: the part that every kernel knows.
    const LEAST: usize = 20;
    Ok(Some((offset, size.max(LEAST))))
}
