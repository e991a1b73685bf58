//! The smallest binding of MMTk: one mutator, precise roots, collections while it is blocked.
//!
//! The mutator blocks of itself, in the allocation or the request that causes a collection; so stopping it means waiting until it
//! has done so. There are no weak references and no finalizers.

use super::object::{Header, Layout, WORD};
use super::pacing::Doubling;
use super::roots;
use mmtk::util::heap::GCTriggerPolicy;
use mmtk::util::opaque_pointer::{OpaquePointer, VMMutatorThread, VMThread, VMWorkerThread};
use mmtk::util::{Address, ObjectReference};
use mmtk::vm::slot::{SimpleSlot, UnimplementedMemorySlice};
use mmtk::vm::{
    ActivePlan, Collection, GCThreadContext, ReferenceGlue, RootsWorkFactory, Scanning,
    SlotVisitor, VMBinding,
};
use mmtk::{MMTK, MMTKBuilder, Mutator, memory_manager};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::*};
use std::sync::{Condvar, Mutex, OnceLock};

/// Names the binding's types.
#[derive(Default)]
pub struct Binding;

impl VMBinding for Binding {
    type VMObjectModel = Layout;
    type VMScanning = Roots;
    type VMCollection = Stops;
    type VMActivePlan = Mutators;
    type VMReferenceGlue = NoReferences;
    type VMSlot = SimpleSlot;
    type VMMemorySlice = UnimplementedMemorySlice;
    const USE_ALLOCATION_OFFSET: bool = false;
    const ALIGNMENT_VALUE: u8 = 0;
    const MIN_ALIGNMENT: usize = WORD;
}

static MMTK: OnceLock<Box<MMTK<Binding>>> = OnceLock::new();
static MUTATOR: AtomicPtr<Mutator<Binding>> = AtomicPtr::new(null_mut());
static MEETING: Mutex<Meeting> = Mutex::new(Meeting {
    blocked: false,
    resumed: 0,
});
static CHANGED: Condvar = Condvar::new();

/// How the mutator and the collector meet.
struct Meeting {
    /// The mutator waits for a collection to end.
    blocked: bool,
    /// How often the mutator was resumed.
    resumed: u64,
}

fn meeting() -> std::sync::MutexGuard<'static, Meeting> {
    MEETING.lock().expect("nobody panics in a meeting")
}

fn wait(guard: std::sync::MutexGuard<'static, Meeting>) -> std::sync::MutexGuard<'static, Meeting> {
    CHANGED.wait(guard).expect("nobody panics in a meeting")
}

/// MMTk, started before.
pub fn mmtk() -> &'static MMTK<Binding> {
    MMTK.get().expect("MMTk was started")
}

/// The thread of the mutator, by any name that no worker has.
pub fn mutator_thread() -> VMMutatorThread {
    VMMutatorThread(VMThread(OpaquePointer::from_address(Address::from_ref(
        &MUTATOR,
    ))))
}

/// Starts MMTk with a plan, and makes the mutator.
pub fn start(plan: &str) -> Result<*mut Mutator<Binding>, String> {
    let mut builder = MMTKBuilder::new();
    if !builder.set_option("plan", plan) || !builder.set_option("gc_trigger", "Delegated") {
        return Err(format!("plan={plan} is not a plan of MMTk; try Immix"));
    }
    let mmtk = MMTK.get_or_init(|| memory_manager::mmtk_init(&builder));
    let mutator = Box::into_raw(memory_manager::bind_mutator(mmtk, mutator_thread()));
    MUTATOR.store(mutator, Release);
    memory_manager::initialize_collection(mmtk, mutator_thread().0);
    Ok(mutator)
}

/// What the collector knows of mutators.
pub struct Mutators;

impl ActivePlan<Binding> for Mutators {
    fn is_mutator(thread: VMThread) -> bool {
        thread == mutator_thread().0
    }

    fn mutator(_thread: VMMutatorThread) -> &'static mut Mutator<Binding> {
        // SAFETY: the one mutator, never freed; the collector uses it while it is blocked.
        unsafe { &mut *MUTATOR.load(Acquire) }
    }

    fn mutators<'a>() -> Box<dyn Iterator<Item = &'a mut Mutator<Binding>> + 'a> {
        Box::new(std::iter::once(Self::mutator(mutator_thread())))
    }

    fn number_of_mutators() -> usize {
        1
    }
}

/// Stopping the mutator and going on.
pub struct Stops;

impl Collection<Binding> for Stops {
    fn stop_all_mutators<F>(_worker: VMWorkerThread, mut visit: F)
    where
        F: FnMut(&'static mut Mutator<Binding>),
    {
        let mut meeting = meeting();
        while !meeting.blocked {
            meeting = wait(meeting);
        }
        drop(meeting);
        visit(Mutators::mutator(mutator_thread()));
    }

    fn resume_mutators(_worker: VMWorkerThread) {
        let mut meeting = meeting();
        meeting.blocked = false;
        meeting.resumed += 1;
        CHANGED.notify_all();
    }

    fn block_for_gc(_thread: VMMutatorThread) {
        let mut meeting = meeting();
        let resumed = meeting.resumed;
        meeting.blocked = true;
        CHANGED.notify_all();
        while meeting.resumed == resumed {
            meeting = wait(meeting);
        }
    }

    fn spawn_gc_thread(_parent: VMThread, context: GCThreadContext<Binding>) {
        static NAMES: AtomicUsize = AtomicUsize::new(WORD);
        let GCThreadContext::Worker(worker) = context;
        // SAFETY: a name, never followed.
        let name = unsafe { Address::from_usize(NAMES.fetch_add(WORD, Relaxed)) };
        std::thread::spawn(move || {
            let thread = VMWorkerThread(VMThread(OpaquePointer::from_address(name)));
            memory_manager::start_worker(mmtk(), thread, worker);
        });
    }

    fn create_gc_trigger() -> Box<dyn GCTriggerPolicy<Binding>> {
        Box::new(Doubling::new())
    }
}

/// Finding the roots, and the pointers in objects.
pub struct Roots;

impl Scanning<Binding> for Roots {
    fn scan_object<V: SlotVisitor<SimpleSlot>>(
        _worker: VMWorkerThread,
        object: ObjectReference,
        visitor: &mut V,
    ) {
        let at = object.to_raw_address();
        // SAFETY: the collector scans objects where they are now.
        let pointers = unsafe { Header::of(at) }.pointers();
        for word in 1..=pointers {
            visitor.visit_slot(SimpleSlot::from_address(at + word * WORD));
        }
    }

    fn scan_roots_in_mutator_thread(
        _worker: VMWorkerThread,
        _mutator: &'static mut Mutator<Binding>,
        mut factory: impl RootsWorkFactory<SimpleSlot>,
    ) {
        factory.create_process_roots_work(roots::slots());
    }

    fn scan_vm_specific_roots(
        _worker: VMWorkerThread,
        _factory: impl RootsWorkFactory<SimpleSlot>,
    ) {
    }

    fn notify_initial_thread_scan_complete(_partial: bool, _worker: VMWorkerThread) {}

    fn supports_return_barrier() -> bool {
        false
    }

    fn prepare_for_roots_re_scanning() {}
}

/// There are no weak references.
pub struct NoReferences;

impl ReferenceGlue<Binding> for NoReferences {
    type FinalizableType = ObjectReference;

    fn clear_referent(_reference: ObjectReference) {}

    fn get_referent(_object: ObjectReference) -> Option<ObjectReference> {
        None
    }

    fn set_referent(_reference: ObjectReference, _referent: ObjectReference) {}

    fn enqueue_references(_references: &[ObjectReference], _worker: VMWorkerThread) {}
}
