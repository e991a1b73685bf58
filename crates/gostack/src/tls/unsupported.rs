//! Why contexts cannot have thread-locals of their own in this process.

use core::fmt;

/// What is missing for thread-locals per context, or for contexts at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsupported {
    /// The C library does not export a symbol that is needed, or is linked statically and exports none.
    MissingSymbol {
        /// The symbol.
        name: &'static str,
    },
    /// Something about the thread block's layout is not as it must be.
    UnknownLayout {
        /// What was expected.
        fact: &'static str,
    },
    /// A block was made, and code that ran on it found something wrong.
    Trial {
        /// The check that failed.
        check: &'static str,
    },
    /// The operating system refused what the examination needs. It may be tried again.
    Refused {
        /// What was tried, as a phrase that follows "cannot".
        operation: &'static str,
        /// The error number.
        errno: i32,
    },
    /// The processor keeps a shadow stack, on which no context but a thread's own can return.
    ShadowStack,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if matches!(self, Self::ShadowStack) {
            return f.write_str(
                "no context can be switched to: the processor's shadow stack is on for this process; \
                 start it with GLIBC_TUNABLES=glibc.cpu.x86_shstk=off",
            );
        }
        f.write_str("contexts cannot have thread-locals of their own: ")?;
        match self {
            Self::MissingSymbol { name } => write!(
                f,
                "the C library does not export {name} (needed is a dynamically linked glibc, 2.34 or newer)"
            )?,
            Self::UnknownLayout { fact } => write!(
                f,
                "this C library is laid out in an unknown way: expected {fact}"
            )?,
            Self::Trial { check } => write!(f, "a trial run failed: {check}")?,
            Self::Refused { operation, errno } => {
                let reason = std::io::Error::from_raw_os_error(*errno);
                return write!(f, "cannot {operation}: {reason}");
            }
            Self::ShadowStack => {}
        }
        f.write_str("; `ThreadLocals::shared()` does without, see its obligations")
    }
}

impl std::error::Error for Unsupported {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_names_what_is_missing_and_what_can_be_done() {
        let said = |reason: Unsupported| reason.to_string();
        let symbol = said(Unsupported::MissingSymbol { name: "__resp" });
        assert!(
            symbol.contains("__resp") && symbol.contains("ThreadLocals::shared()"),
            "{symbol}"
        );
        let errno = said(Unsupported::Refused {
            operation: "start a thread",
            errno: libc::EAGAIN,
        });
        assert!(
            errno.contains("start a thread") && errno.contains("os error 11"),
            "{errno}"
        );
        // Sharing thread-locals would not help there.
        let shadow = said(Unsupported::ShadowStack);
        assert!(
            shadow.contains("x86_shstk") && !shadow.contains("shared()"),
            "{shadow}"
        );
    }
}
