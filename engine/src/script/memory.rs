//! Bytes that this thread holds, so that a run can be stopped at its memory budget (`docs/adr/0002`).
//!
//! Owns: [`MeteredAlloc`], the global allocator of the binary, the counter of each thread, and giving memory back. Never does:
//! refuse an allocation (that would abort the process): the budget is looked at between operations.
//!
//! Invariants:
//! * **E46** The counter changes only by what the allocator below really granted or took back.
//! * **E47** Where `MeteredAlloc` is not installed, the counter stays 0 and metering is off.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use libmimalloc_sys::{mi_collect, mi_malloc, mi_realloc, mi_zalloc};
use mimalloc::MiMalloc;

/// The alignment that every block of mimalloc has for which nothing is said.
const PLAIN_ALIGN: usize = 8;

thread_local! {
    /// Allocated minus freed by this thread; memory that another thread frees makes it drift, so only
    /// differences within one run mean something. `const` and without a destructor: usable at any time.
    static HELD_BYTES: Cell<i64> = const { Cell::new(0) };
}

/// mimalloc, counting per thread. Install with `#[global_allocator]`.
#[derive(Debug, Default)]
pub struct MeteredAlloc;

/// Bytes that this thread allocated and did not free; only differences mean something.
#[must_use]
pub fn held_bytes() -> i64 {
    HELD_BYTES.get()
}

/// How often threads were asked to give memory back.
static ASKED: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// What of [`ASKED`] this thread has seen.
    static GIVEN: Cell<u64> = const { Cell::new(0) };
}

/// Gives pages that hold nothing any more back to the system, and asks the threads that come to [`give_back_if_asked`] to do
/// so: for a thread that freed much of what others allocated, or has nothing to do now. Left alone, the allocator looks for
/// such pages when it is asked for memory: while nothing happens, not at all.
pub fn give_back() {
    ASKED.fetch_add(1, Ordering::Relaxed);
    give_back_if_asked();
}

/// Gives back what this thread can, if anybody asked since the last time: for a thread that is about to wait.
pub fn give_back_if_asked() {
    let asked = ASKED.load(Ordering::Relaxed);
    if GIVEN.replace(asked) == asked {
        return;
    }
    #[expect(unsafe_code, reason = "mimalloc has no other way; ADR 0002")]
    // SAFETY: no precondition: it frees what is free already, of this thread and of no thread.
    unsafe {
        mi_collect(true);
    }
}

/// Whether a block for this layout need not be asked for with its alignment, which takes mimalloc more time and room.
const fn is_plain(layout: Layout) -> bool {
    layout.align() <= PLAIN_ALIGN
}

fn count(bytes: usize, sign: i64) {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    HELD_BYTES.set(HELD_BYTES.get().wrapping_add(sign.wrapping_mul(bytes)));
}

#[expect(unsafe_code, reason = "a global allocator is an unsafe trait; ADR 0002 says why one is needed")]
// SAFETY: every call goes to mimalloc with the caller's own arguments, so its guarantees are this one's (its blocks are
// aligned to 8 bytes at least, which is all that a plain layout asks for); the counting beside it neither allocates nor unwinds (a const thread-local `Cell` without a destructor).
unsafe impl GlobalAlloc for MeteredAlloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds the contract of `alloc`, which is handed on unchanged.
        let block = unsafe {
            if is_plain(layout) { mi_malloc(layout.size()).cast() } else { MiMalloc.alloc(layout) }
        };
        if !block.is_null() {
            count(layout.size(), 1);
        }
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for `alloc`.
        let block = unsafe {
            if is_plain(layout) { mi_zalloc(layout.size()).cast() } else { MiMalloc.alloc_zeroed(layout) }
        };
        if !block.is_null() {
            count(layout.size(), 1);
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from `MiMalloc` with this layout.
        unsafe { MiMalloc.dealloc(block, layout) };
        count(layout.size(), -1);
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the block came from `MiMalloc` with this layout; the caller checked `size`.
        let moved = unsafe {
            if is_plain(layout) {
                mi_realloc(block.cast(), size).cast()
            } else {
                MiMalloc.realloc(block, layout, size)
            }
        };
        if !moved.is_null() {
            count(layout.size(), -1);
            count(size, 1);
        }
        moved
    }
}
