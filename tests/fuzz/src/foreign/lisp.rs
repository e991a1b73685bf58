//! The front of the interpreter that embeds the collector.

#[path = "../../../../crates/gogc/examples/lisp/code.rs"]
pub mod code;
#[path = "../../../../crates/gogc/examples/lisp/compiler.rs"]
pub mod compiler;
#[path = "../../../../crates/gogc/examples/lisp/reader.rs"]
pub mod reader;
#[path = "../../../../crates/gogc/examples/lisp/syntax.rs"]
pub mod syntax;
