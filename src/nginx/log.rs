//! Messages in nginx's log, through its variadic `ngx_log_error_core`.
//!
//! The compiler checks a [`Format`] against the types of its arguments. That check
//! makes the variadic call safe, and a message in this library reads like one of nginx:
//! the text, then the arguments.

use core::ffi::{CStr, c_int, c_void};
use core::marker::PhantomData;

use super::bindings::{
    NGX_LOG_ALERT, NGX_LOG_ERR, NGX_LOG_WARN, ngx_err_t, ngx_log_error_core, ngx_log_s, ngx_uint_t,
};
use super::handle::handle;

handle! {
    /// A log, `ngx_log_t`.
    Log => ngx_log_s;

    /// nginx writes messages up to this level; the bits above the level say which debug
    /// messages it writes.
    value log_level: ngx_uint_t => log_level;
    value action: Action => action, set_action_raw;
}

type Action = *mut core::ffi::c_char;

/// The level of a message, as in the directive `error_log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Level {
    /// Something that must never happen, `NGX_LOG_ALERT`.
    Alert = NGX_LOG_ALERT,
    /// A failed connection or request, `NGX_LOG_ERR`.
    #[cfg_attr(not(ngx_have_kqueue), allow(dead_code))]
    Err = NGX_LOG_ERR,
    /// Something worth knowing, `NGX_LOG_WARN`.
    Warn = NGX_LOG_WARN,
}

impl Log<'_> {
    /// Runs `body` with the log that nginx has called the library with.
    ///
    /// # Safety
    ///
    /// `log` is not null and lives until the call returns.
    pub(crate) unsafe fn enter<R>(
        log: *mut ngx_log_s,
        body: impl for<'a> FnOnce(Log<'a>) -> R,
    ) -> R {
        // SAFETY: as this function requires.
        body(unsafe { Log::from_non_null(log) })
    }

    /// Sets what nginx is doing, as its messages say at their end: "while ...".
    pub(crate) fn set_action(self, action: &'static CStr) {
        self.set_action_raw(action.as_ptr().cast_mut());
    }

    /// Writes a message if the level is enabled, `ngx_log_error`.
    pub(crate) fn error<A: Arguments>(
        self,
        level: Level,
        err: ngx_err_t,
        format: Format<A>,
        arguments: A,
    ) {
        let level = level as ngx_uint_t;

        if self.log_level() >= level {
            arguments.write(self, level, err, format);
        }
    }

    /// Writes a message if `error_log` has the level `debug_event`, `ngx_log_debug`. An
    /// nginx that is built without `--with-debug` has no such messages.
    #[cfg(ngx_debug)]
    pub(crate) fn debug<A: Arguments>(self, format: Format<A>, arguments: A) {
        use super::bindings::{NGX_LOG_DEBUG, NGX_LOG_DEBUG_EVENT};

        if self.log_level() & NGX_LOG_DEBUG_EVENT as ngx_uint_t != 0 {
            arguments.write(self, NGX_LOG_DEBUG as ngx_uint_t, 0, format);
        }
    }

    /// Writes nothing: nginx is built without `--with-debug`.
    #[cfg(not(ngx_debug))]
    #[inline(always)]
    pub(crate) fn debug<A: Arguments>(self, _: Format<A>, _: A) {}
}

/// A text with conversions for arguments of the types `A`, a tuple.
pub(crate) struct Format<A>(
    #[cfg_attr(not(any(ngx_debug, test)), allow(dead_code))] &'static CStr,
    PhantomData<A>,
);

impl<A> Clone for Format<A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> Copy for Format<A> {}

impl<A: Arguments> Format<A> {
    /// A format with this text, if the conversions of the text fit the types `A`. For
    /// constants only: then a text that does not fit does not compile.
    pub(crate) const fn new(text: &'static CStr) -> Self {
        assert!(
            conforms(text.to_bytes(), A::CONVERSIONS),
            "the conversions do not fit the arguments"
        );

        Self(text, PhantomData)
    }
}

/// Whether the text's conversions are those that the arguments need, in order.
const fn conforms(mut text: &[u8], mut arguments: &[&[&[u8]]]) -> bool {
    while let [first, rest @ ..] = text {
        text = rest;

        if *first != b'%' {
            continue;
        }

        let [argument, others @ ..] = arguments else {
            return false;
        };

        if !starts_with_any(text, argument) {
            return false;
        }

        arguments = others;
    }

    arguments.is_empty()
}

const fn starts_with_any(text: &[u8], mut prefixes: &[&[u8]]) -> bool {
    while let [prefix, rest @ ..] = prefixes {
        if starts_with(text, prefix) {
            return true;
        }
        prefixes = rest;
    }

    false
}

const fn starts_with(mut text: &[u8], mut prefix: &[u8]) -> bool {
    while let [wanted, prefix_rest @ ..] = prefix {
        let [found, text_rest @ ..] = text else {
            return false;
        };
        if *found != *wanted {
            return false;
        }
        (prefix, text) = (prefix_rest, text_rest);
    }

    true
}

/// A value that nginx's formatter can print.
///
/// # Safety
///
/// Each of `CONVERSIONS` makes `ngx_vslprintf` take a variadic argument of the
/// type `Variadic`.
pub(crate) unsafe trait Argument: Copy {
    /// The conversions that fit this type, without the per cent sign.
    const CONVERSIONS: &'static [&'static [u8]];
    /// The type of the value after C's default promotions.
    type Variadic;
    /// The value as it is passed to a variadic function.
    fn variadic(self) -> Self::Variadic;
}

macro_rules! argument {
    ($($ty:ty as $variadic:ty: $($conversion:literal)|+;)*) => { $(
        // SAFETY: as `ngx_vslprintf` documents its conversions.
        unsafe impl Argument for $ty {
            const CONVERSIONS: &'static [&'static [u8]] = &[$($conversion),+];
            type Variadic = $variadic;
            fn variadic(self) -> $variadic {
                self.into()
            }
        }
    )* };
}

argument! {
    // A flag; C promotes a bit field to int.
    bool as c_int: b"d";
    c_int as c_int: b"d";
    // C's ssize_t.
    isize as isize: b"z";
    // C's size_t and ngx_uint_t.
    usize as usize: b"uz" | b"ui";
    // C's off_t.
    i64 as i64: b"O";
}

// SAFETY: `%p` takes a `void *`.
unsafe impl<T> Argument for *mut T {
    const CONVERSIONS: &'static [&'static [u8]] = &[b"p"];
    type Variadic = *mut c_void;
    fn variadic(self) -> *mut c_void {
        self.cast()
    }
}

/// The arguments of a message: a tuple.
pub(crate) trait Arguments {
    /// For each argument, the conversions that fit its type.
    const CONVERSIONS: &'static [&'static [&'static [u8]]];

    /// Writes the message, whatever its level.
    fn write(self, log: Log<'_>, level: ngx_uint_t, err: ngx_err_t, format: Format<Self>)
    where
        Self: Sized;
}

/// Calls `ngx_log_error_core`.
#[cfg(not(angie))]
macro_rules! write_line {
    ($level:expr, $log:expr, $($rest:expr),*) => {
        ngx_log_error_core($level, $log, $($rest),*)
    };
}

/// Calls `ngx_log_error_core`, which in Angie takes the name of a source file, too.
#[cfg(angie)]
macro_rules! write_line {
    ($level:expr, $log:expr, $($rest:expr),*) => {
        ngx_log_error_core($level, $log, c"ngx_event_pipe".as_ptr(), $($rest),*)
    };
}

macro_rules! arguments {
    ($($name:ident)*) => {
        impl<$($name: Argument),*> Arguments for ($($name,)*) {
            const CONVERSIONS: &'static [&'static [&'static [u8]]] = &[$($name::CONVERSIONS),*];

            #[allow(non_snake_case)]
            fn write(self, log: Log<'_>, level: ngx_uint_t, err: ngx_err_t, format: Format<Self>) {
                let ($($name,)*) = self;

                // SAFETY: a live log; `Format::new` has found a conversion for
                // each argument, of its type and in its place.
                unsafe {
                    write_line!(
                        level, log.as_raw(), err, format.0.as_ptr() $(, $name.variadic())*
                    );
                }
            }
        }
    };
}

arguments!();
arguments!(A);
arguments!(A B);
arguments!(A B C);
arguments!(A B C D);
arguments!(A B C D E F G H);

/// `debug!(log, c"text %z", value)`: a message for the debug log.
macro_rules! debug {
    ($log:expr, $text:literal $(, $argument:expr)* $(,)?) => {
        $log.debug(const { $crate::nginx::Format::new($text) }, ($($argument,)*))
    };
}

/// `error!(log, Level::Warn, errno, c"text")`: a message for the error log.
macro_rules! error {
    ($log:expr, $level:expr, $err:expr, $text:literal $(, $argument:expr)* $(,)?) => {
        $log.error($level, $err, const { $crate::nginx::Format::new($text) }, ($($argument,)*))
    };
}

pub(crate) use {debug, error};

#[cfg(test)]
mod tests {
    use super::{Argument, conforms};

    const D: &[&[u8]] = <i32 as Argument>::CONVERSIONS;
    const Z: &[&[u8]] = <isize as Argument>::CONVERSIONS;
    const U: &[&[u8]] = <usize as Argument>::CONVERSIONS;

    #[test]
    fn accepts_the_conversions_of_its_arguments() {
        assert!(conforms(b"no conversion", &[]));
        assert!(conforms(b"%d and %z", &[D, Z]));
        assert!(conforms(b"busy: %uz, flush: %ui", &[U, U]));
    }

    #[test]
    fn refuses_too_few_too_many_and_wrong_ones() {
        assert!(!conforms(b"%d", &[]));
        assert!(!conforms(b"nothing", &[D]));
        assert!(!conforms(b"%d %z", &[Z, D]));
        assert!(!conforms(b"%u", &[U]));
        assert!(!conforms(b"100 %", &[D]));
    }
}
