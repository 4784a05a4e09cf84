//! Loans: large memory that belongs to the worker and is lent to one pipe at a time.
//!
//! Loans are cut from an *arena*: address space for as many loans as the worker may lend.
//! The system gives an arena memory where memory is used, and takes the memory of a loan
//! back when the loan has been idle. The address space stays, so that the address of a
//! buffer tells at once which loan the buffer lies in.
//!
//! Raw buffers that lie in a loan's memory are its *parts*. What the library keeps for the
//! loans of an arena are Rust structures of cells in front of that memory.

use core::cell::Cell;
use core::ptr::null_mut;

use super::bindings;
use super::buf::{Address, Buf};

/// A loan's memory in bytes. In tests that link the library, loans are as small as all
/// other sizes.
pub(crate) const LOAN: usize = if cfg!(feature = "std") { 40 } else { 256 << 10 };

/// What the memory of loans is aligned to: the pages of no system are larger.
const ALIGN: usize = 64 << 10;

/// Says that what is mapped need not all be there as memory at once.
#[cfg(target_os = "linux")]
const ONLY_ADDRESSES: i32 = libc::MAP_NORESERVE;
#[cfg(not(target_os = "linux"))]
const ONLY_ADDRESSES: i32 = 0;

/// What is kept for a loan. As an arena is never unmapped, this stays for ever.
pub(crate) struct Loan {
    /// The next younger loan of the pipe or, of a loan that is not lent, the next of these.
    pub(crate) next: Cell<Option<&'static Loan>>,
    /// The next older loan of the pipe.
    pub(crate) previous: Cell<Option<&'static Loan>>,
    /// Where the memory starts.
    start: Address,
    /// How many bytes from the start have been given to parts.
    pub(crate) used: Cell<usize>,
    /// How many parts are in use.
    pub(crate) parts: Cell<usize>,
    /// The number of the pipe that has the loan; 0 if the loan is not lent.
    owner: Cell<usize>,
}

impl Loan {
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

    /// Whether the loan is lent to the pipe with this number.
    pub(crate) fn is_of(&self, owner: usize) -> bool {
        self.owner.get() == owner
    }
}

/// Loans that are not lent: the first of a list.
#[derive(Default)]
struct List(Cell<Option<&'static Loan>>);

impl List {
    fn put(&self, loan: &'static Loan) {
        loan.next.set(self.0.replace(Some(loan)));
    }

    fn take(&self) -> Option<&'static Loan> {
        let first = self.0.get()?;

        self.0.set(first.next.take());

        Some(first)
    }
}

/// The loans of a worker.
pub(crate) struct Loans {
    /// The arena that was mapped last.
    arena: Cell<Option<&'static Arena>>,
    /// Loans that are not lent: those that have memory, and those whose memory went back
    /// to the system.
    free: List,
    bare: List,
    /// How many loans are not lent and have memory.
    pub(crate) free_count: Cell<usize>,
    /// The least that `free_count` has been since somebody last set this number to it.
    pub(crate) least_free: Cell<usize>,
    /// Bytes of the loans that are lent.
    pub(crate) lent: Cell<usize>,
}

impl Loans {
    pub(crate) const fn new() -> Self {
        Self {
            arena: Cell::new(None),
            free: List(Cell::new(None)),
            bare: List(Cell::new(None)),
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

    /// Lends a loan, which has no parts, to the pipe with the number `owner`, which no other
    /// pipe has, and which is not 0. An arena is large enough for `limit` bytes. `None` if
    /// there is no memory. The pipe has the loan until [`Loans::take_back`] is called.
    pub(crate) fn lend(&self, owner: usize, limit: usize) -> Option<&'static Loan> {
        let loan = self
            .take_free()
            .or_else(|| self.bare.take())
            .or_else(|| self.take_new(limit))?;

        // SAFETY: the memory of a loan that nobody else has.
        unsafe { bindings::ngx_event_pipe_glue_permit(loan.start, LOAN) }

        loan.next.set(None);
        loan.previous.set(None);
        loan.used.set(0);
        loan.parts.set(0);
        loan.owner.set(owner);
        self.lent.set(self.lent.get().saturating_add(LOAN));

        Some(loan)
    }

    /// Takes a loan back. No buffer of any pipe refers to the loan's memory, and no pipe
    /// to the loan, any more.
    pub(crate) fn take_back(&self, loan: &'static Loan) {
        // SAFETY: the memory of a loan, which nobody else looks at from now on.
        unsafe { bindings::ngx_event_pipe_glue_forbid(loan.start, LOAN) }

        loan.owner.set(0);
        self.lent.set(self.lent.get().saturating_sub(LOAN));
        self.free.put(loan);
        self.free_count.set(self.free_count.get().saturating_add(1));
    }

    /// Takes a loan that is not lent and has memory.
    fn take_free(&self) -> Option<&'static Loan> {
        let loan = self.free.take()?;
        let count = self.free_count.get().saturating_sub(1);

        self.free_count.set(count);
        self.least_free.set(self.least_free.get().min(count));

        Some(loan)
    }

    /// Takes a loan that has never been lent, of a new arena if need be.
    fn take_new(&self, limit: usize) -> Option<&'static Loan> {
        self.arena
            .get()
            .and_then(Arena::take_new)
            .or_else(|| self.add_arena(limit)?.take_new())
    }

    /// Adds an arena for the loans that the others have no room for, or for some of these
    /// if there is less address space.
    fn add_arena(&self, limit: usize) -> Option<&'static Arena> {
        let mut count = limit / LOAN;
        let mut next = self.arena.get();

        while let Some(arena) = next {
            count = count.saturating_sub(arena.count);
            next = arena.before;
        }

        while count > 0 {
            if let Some(arena) = Arena::map(count, self.arena.get()) {
                self.arena.set(Some(arena));
                return Some(arena);
            }

            count /= 2;
        }

        None
    }

    /// The loan that a buffer lies in, lent or not. `None` if the buffer has its memory
    /// from elsewhere.
    pub(crate) fn find(&self, buf: Buf<'_>) -> Option<&'static Loan> {
        let address = buf.start().addr();
        let mut next = self.arena.get();

        while let Some(arena) = next {
            let offset = address.wrapping_sub(arena.start.addr());

            if let Some(loan) = arena.loan(offset / LOAN) {
                return Some(loan);
            }

            next = arena.before;
        }

        None
    }

    /// Gives the memory of a loan that is not lent back to the system, if there is one.
    pub(crate) fn give_back_one(&self) {
        if let Some(loan) = self.take_free() {
            give_back_memory(loan);
            self.bare.put(loan);
        }
    }
}

/// Gives a loan's memory back to the system. The address space stays.
fn give_back_memory(loan: &Loan) {
    if LOAN % ALIGN == 0 {
        // SAFETY: the memory of a loan that is not lent: nobody needs what is in it.
        unsafe { libc::madvise(loan.start.cast(), LOAN, libc::MADV_DONTNEED) };
    }
}

/// Address space for loans, and what is kept for these.
struct Arena {
    /// The arena that was mapped before this one.
    before: Option<&'static Arena>,
    /// The array of what is kept for the loans, and where the memory of the first starts.
    loans: *mut Loan,
    start: Address,
    /// How many loans there are, and how many of these have ever been lent.
    count: usize,
    used: Cell<usize>,
}

impl Arena {
    /// Maps an arena for `count` loans. `None` if there is no address space.
    fn map(count: usize, before: Option<&'static Self>) -> Option<&'static Self> {
        let kept = count
            .checked_mul(size_of::<Loan>())?
            .checked_add(size_of::<Self>())?
            .checked_next_multiple_of(ALIGN)?;
        let size = count.checked_mul(LOAN)?.checked_add(kept)?;
        let mapped = size.checked_add(ALIGN)?;

        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | ONLY_ADDRESSES;

        // SAFETY: asks for new memory at an address of the system's choice.
        let memory = unsafe { libc::mmap(null_mut(), mapped, protection, flags, -1, 0) };

        if memory == libc::MAP_FAILED {
            return None;
        }

        // A page of the system may be smaller than `ALIGN`.
        let memory: Address = memory.cast();
        let memory = memory.wrapping_add(memory.addr().wrapping_neg() % ALIGN);

        // A large page would hold memory of loans that are not lent.
        #[cfg(target_os = "linux")]
        // SAFETY: new memory, which nobody has.
        unsafe {
            libc::madvise(memory.cast(), size, libc::MADV_NOHUGEPAGE)
        };

        let arena: *mut Self = memory.cast();

        // SAFETY: new memory, aligned and large enough, which nobody has.
        unsafe {
            arena.write(Self {
                before,
                loans: arena.wrapping_add(1).cast(),
                start: memory.wrapping_add(kept),
                count,
                used: Cell::new(0),
            });
        }

        // SAFETY: was written above, and is never unmapped.
        unsafe { arena.as_ref() }
    }

    /// Takes the next of the loans that have never been lent.
    fn take_new(&self) -> Option<&'static Loan> {
        let index = self.used.get();

        if index == self.count {
            return None;
        }

        // SAFETY: within the arena's array, of which `map` has made room for `count`;
        // nobody has looked at this place of it.
        unsafe {
            self.loans.wrapping_add(index).write(Loan {
                next: Cell::new(None),
                previous: Cell::new(None),
                start: self.start.wrapping_add(index.wrapping_mul(LOAN)),
                used: Cell::new(0),
                parts: Cell::new(0),
                owner: Cell::new(0),
            });
        }

        self.used.set(index.saturating_add(1));

        self.loan(index)
    }

    /// The loan with this number, if the loan has ever been lent.
    fn loan(&self, index: usize) -> Option<&'static Loan> {
        // SAFETY: `take_new` has written it; the memory is never unmapped.
        (index < self.used.get()).then(|| unsafe { &*self.loans.wrapping_add(index) })
    }
}

const _: () = assert!(align_of::<Loan>() <= align_of::<Arena>());
