//! Loans: large memory that belongs to the worker and is lent to one pipe at a time.
//!
//! A loan is mapped memory of its own, so that it goes back to the system as soon as it
//! is unmapped. Raw buffers that lie in a loan's memory are its *parts*. What the library
//! keeps for a loan lies in the page before that memory, as a Rust structure of cells.

use core::cell::Cell;
use core::ptr::null_mut;

use super::bindings;
use super::buf::{Address, Buf};

/// A loan's memory in bytes. In tests that link the library, loans are as small as all
/// other sizes.
pub(crate) const LOAN: usize = if cfg!(feature = "std") { 40 } else { 256 << 10 };

/// The bytes before a loan's memory, which hold the structure: a page.
const HEAD: usize = 4096;

const _: () = assert!(size_of::<Loan<'_>>() <= HEAD);

/// What is kept for a loan.
pub(crate) struct Loan<'p> {
    /// The next loan of the pipe or, of a loan that is not lent, the next of these.
    pub(crate) next: Cell<Option<&'p Loan<'p>>>,
    /// Where the memory starts.
    start: Address,
    /// How many bytes from the start have been given to parts.
    pub(crate) used: Cell<usize>,
    /// How many parts are in use.
    pub(crate) parts: Cell<usize>,
}

impl Loan<'_> {
    /// Makes a buffer that nobody uses a part: an empty raw buffer whose memory are the
    /// next `size` bytes of the loan, or as many as are left.
    pub(crate) fn set_up_part(&self, part: Buf<'_>, size: usize) {
        let used = self.used.get();
        let size = size.min(self.left());
        let start = self.start.wrapping_add(used);

        self.used.set(used.saturating_add(size));
        self.parts.set(self.parts.get().saturating_add(1));

        part.clear();
        part.set_start(start);
        part.set_pos(start);
        part.set_last(start);
        part.set_end(start.wrapping_add(size));
        part.set_temporary(true);
    }

    /// How many bytes have not been given to parts.
    pub(crate) fn left(&self) -> usize {
        LOAN.saturating_sub(self.used.get())
    }

    /// Whether a buffer lies in the loan's memory.
    pub(crate) fn contains(&self, buf: Buf<'_>) -> bool {
        buf.start().addr().wrapping_sub(self.start.addr()) < LOAN
    }
}

/// A pointer to a loan that is not lent, or null. The lifetime stands for none.
type LoanPointer = *mut Loan<'static>;

/// The loans of a worker.
pub(crate) struct Loans {
    /// The first of the loans that are not lent.
    free: Cell<LoanPointer>,
    /// How many loans are not lent.
    pub(crate) free_count: Cell<usize>,
    /// The least that `free_count` has been since somebody last set this number to it.
    pub(crate) least_free: Cell<usize>,
    /// Bytes of the loans that are lent.
    pub(crate) lent: Cell<usize>,
}

impl Loans {
    pub(crate) const fn new() -> Self {
        Self {
            free: Cell::new(null_mut()),
            free_count: Cell::new(0),
            least_free: Cell::new(0),
            lent: Cell::new(0),
        }
    }

    /// The memory of all loans, lent or not, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let free = self.free_count.get().saturating_mul(LOAN);

        self.lent.get().saturating_add(free)
    }

    /// Lends a loan, which has no parts. `None` if there is no memory. The caller has the
    /// loan until it calls [`Loans::take_back`].
    pub(crate) fn lend<'p>(&self) -> Option<&'p Loan<'p>> {
        let loan = match self.take_free() {
            loan if loan.is_null() => map()?,
            loan => loan,
        };

        // SAFETY: a loan that nobody else has, and that is not unmapped while it is lent.
        let loan = unsafe { &*loan.cast::<Loan<'p>>() };

        // SAFETY: the memory of a loan that nobody else has.
        unsafe { bindings::ngx_event_pipe_glue_permit(loan.start, LOAN) }

        loan.next.set(None);
        loan.used.set(0);
        loan.parts.set(0);
        self.lent.set(self.lent.get().saturating_add(LOAN));

        Some(loan)
    }

    /// Takes a loan back. No buffer of any pipe refers to the loan's memory, and no pipe
    /// to the loan, any more.
    pub(crate) fn take_back(&self, loan: &Loan<'_>) {
        // SAFETY: the memory of a loan, which nobody else looks at from now on.
        unsafe { bindings::ngx_event_pipe_glue_forbid(loan.start, LOAN) }

        self.lent.set(self.lent.get().saturating_sub(LOAN));
        self.put_free(loan);
    }

    fn put_free(&self, loan: &Loan<'_>) {
        let this: LoanPointer = core::ptr::from_ref(loan).cast_mut().cast();

        // SAFETY: null, or a loan that is not lent, which nobody else refers to.
        let next = unsafe { self.free.get().cast_const().as_ref() };

        // SAFETY: a loan that nobody has any more; it stays mapped as long as it is here.
        let this_loan = unsafe { &*this };

        this_loan.next.set(next);
        self.free.set(this);
        self.free_count.set(self.free_count.get().saturating_add(1));
    }

    /// Takes a loan that is not lent, or null if there is none.
    fn take_free(&self) -> LoanPointer {
        let first = self.free.get();

        // SAFETY: null, or a loan that is not lent, which stays mapped as long as it is
        // here.
        if let Some(loan) = unsafe { first.as_ref() } {
            let next = loan.next.get();

            self.free
                .set(next.map_or(null_mut(), |next| core::ptr::from_ref(next).cast_mut()));

            let count = self.free_count.get().saturating_sub(1);

            self.free_count.set(count);
            self.least_free.set(self.least_free.get().min(count));
        }

        first
    }

    /// Gives the memory of a loan that is not lent back to the system, if there is one.
    pub(crate) fn unmap_one(&self) {
        let loan = self.take_free();

        // SAFETY: null, or a loan that nobody has.
        if let Some(start) = unsafe { loan.as_ref() }.map(|loan| loan.start) {
            // SAFETY: the memory of that loan, which nobody has.
            unsafe { bindings::ngx_event_pipe_glue_permit(start, LOAN) }

            // SAFETY: mapped by `map` with this size; nobody has a pointer to it any more.
            unsafe { libc::munmap(loan.cast(), HEAD + LOAN) };
        }
    }
}

/// Maps memory for a loan, and writes the loan's structure into its first page. `None` if
/// there is no memory.
fn map() -> Option<LoanPointer> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

    // SAFETY: asks for new memory at an address of the system's choice.
    let memory = unsafe { libc::mmap(null_mut(), HEAD + LOAN, protection, flags, -1, 0) };

    if memory == libc::MAP_FAILED {
        return None;
    }

    let loan: LoanPointer = memory.cast();
    let start: Address = memory.cast::<u8>().wrapping_add(HEAD);

    // SAFETY: new memory, aligned to a page and large enough, which nobody has.
    unsafe {
        loan.write(Loan {
            next: Cell::new(None),
            start,
            used: Cell::new(0),
            parts: Cell::new(0),
        });
    }

    Some(loan)
}
