//! Sources of other packages that know nothing but std or a crate's public interface, and have no library to be reached
//! through.

#[path = "../../../crates/goruntime/examples/kv/glob.rs"]
pub mod glob;
#[path = "../../../crates/gomem/tests/model/model.rs"]
pub mod heap_model;
#[path = "../../../crates/goruntime/examples/kv/resp.rs"]
pub mod requests;
#[path = "../../../xtask/src/kv/resp.rs"]
pub mod tool_replies;
#[path = "../../../crates/goruntime/examples/web/request.rs"]
pub mod web_request;
#[path = "../../../crates/goruntime/examples/kv-load/wire.rs"]
pub mod wire;

pub mod lisp;
