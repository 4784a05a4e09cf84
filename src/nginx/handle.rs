//! The macro that turns an nginx structure into a handle.
//!
//! A handle is a `Copy` wrapper around a non-null pointer, with one getter and at most
//! one setter for each field that the pipe uses. A handle never creates a reference to
//! the structure: nginx's modules and the pipe's own callbacks write to the same
//! memory, so a field is read when it is needed and nothing is kept across a call.
//!
//! The layout test makes a table of the same list of fields, and compares what Rust
//! believes with what the C compiler says. So no field can be used without being
//! checked.

/// Declares a handle: its fields, and how each field is read and written.
///
/// A field is a `value` (copied as it is), a `link` (a pointer to another
/// structure that has a handle, `None` where C has `NULL`), an `always` (a link
/// that nginx never leaves `NULL`), a `flag` (a bit field of width one) or a `setting`
/// (a directive's number, of which zero is "off").
macro_rules! handle {
    (
        $(#[$meta:meta])*
        $name:ident => $raw:ident;
        $(
            $(#[$doc:meta])*
            $kind:ident $($path:ident).+ : $ty:tt => $get:ident $(, $set:ident)? ;
        )*
    ) => {
        $(#[$meta])*
        ///
        /// What a handle points to lives in the request's pool or in the worker's
        /// tables of connections, and neither is destroyed during that call.
        #[derive(Clone, Copy, PartialEq, Eq)]
        #[repr(transparent)]
        pub(crate) struct $name<'p>(
            core::ptr::NonNull<$raw>,
            // The lifetime is invariant, so that handles of two calls never mix.
            core::marker::PhantomData<core::cell::Cell<&'p ()>>,
        );

        impl<'p> $name<'p> {
            /// Wraps a pointer that nginx gave to the library; `None` stands for
            /// `NULL`.
            ///
            /// # Safety
            ///
            /// A pointer that is not null points to a structure which stays
            /// allocated for `'p`, and which no Rust reference covers.
            #[allow(dead_code)]
            pub(super) unsafe fn from_raw(raw: *mut $raw) -> Option<Self> {
                core::ptr::NonNull::new(raw)
                    .map(|raw| Self(raw, core::marker::PhantomData))
            }

            /// Wraps a pointer that is never null.
            ///
            /// # Safety
            ///
            /// As for `from_raw`, and the pointer is not null.
            #[allow(dead_code)]
            pub(super) unsafe fn from_non_null(raw: *mut $raw) -> Self {
                // SAFETY: not null, says the caller.
                let raw = unsafe { core::ptr::NonNull::new_unchecked(raw) };

                Self(raw, core::marker::PhantomData)
            }

            /// The pointer, to hand it to nginx.
            #[allow(dead_code)]
            pub(super) fn as_raw(self) -> *mut $raw {
                self.0.as_ptr()
            }

            $( $crate::nginx::handle::accessor! {
                $(#[$doc])* $kind $raw $($path).+ : $ty => $get $(, $set)?
            } )*
        }

        #[cfg(test)]
        impl $crate::nginx::layout::Layout for $name<'_> {
            type Raw = $raw;

            #[allow(unused_doc_comments)]
            fn fields() -> &'static [$crate::nginx::layout::Field<$raw>] {
                const { &[ $(
                    $(#[$doc])*
                    $crate::nginx::handle::layout_field!($kind $raw $($path).+ : $ty),
                )* ] }
            }
        }
    };
}

/// Defines the getter of a field and, if the declaration names a setter, the setter.
macro_rules! accessor {
    ($(#[$doc:meta])* $kind:ident $raw:ident $($path:ident).+ : $ty:tt => $get:ident, $set:ident) => {
        // Some getters and setters are not used: the pipe only writes some fields, and
        // uses others only under one of nginx's build conditions.
        $crate::nginx::handle::accessor! {
            $(#[$doc])* #[allow(dead_code)] $kind $raw $($path).+ : $ty => $get
        }
        $crate::nginx::handle::setter! {
            $(#[$doc])* #[allow(dead_code)] $kind $raw $($path).+ : $ty => $set
        }
    };

    ($(#[$doc:meta])* value $raw:ident $($path:ident).+ : $ty:tt => $get:ident) => {
        $(#[$doc])*
        pub(crate) fn $get(self) -> $ty {
            // SAFETY: the handle's pointer is valid during 'p (`from_raw`).
            unsafe { (*self.0.as_ptr()).$($path).+ }
        }
    };

    ($(#[$doc:meta])* link $raw:ident $field:ident : $ty:ident => $get:ident) => {
        $(#[$doc])*
        pub(crate) fn $get(self) -> Option<$ty<'p>> {
            // SAFETY: the handle's pointer is valid during 'p (`from_raw`).
            let raw = unsafe { (*self.0.as_ptr()).$field };

            // SAFETY: nginx links only structures of the same lifetime.
            unsafe { $ty::from_raw(raw) }
        }
    };

    ($(#[$doc:meta])* always $raw:ident $field:ident : $ty:ident => $get:ident) => {
        $(#[$doc])*
        pub(crate) fn $get(self) -> $ty<'p> {
            // SAFETY: the handle's pointer is valid during 'p (`from_raw`).
            let raw = unsafe { (*self.0.as_ptr()).$field };

            // SAFETY: nginx sets this field before the pipe can see it, and to
            // a structure of the same lifetime.
            unsafe { $ty::from_non_null(raw) }
        }
    };

    ($(#[$doc:meta])* setting $raw:ident $field:ident : $ty:ident => $get:ident) => {
        $(#[$doc])*
        pub(crate) fn $get(self) -> bool {
            // SAFETY: the handle's pointer is valid during 'p (`from_raw`).
            unsafe { (*self.0.as_ptr()).$field != 0 }
        }
    };

    ($(#[$doc:meta])* flag $raw:ident $field:ident : ($bit:ident, $set_bit:ident) => $get:ident) => {
        $(#[$doc])*
        pub(crate) fn $get(self) -> bool {
            // SAFETY: the handle's pointer is valid during 'p (`from_raw`).
            unsafe { $raw::$bit(self.0.as_ptr()) != 0 }
        }
    };
}

/// Defines the setter of a field.
macro_rules! setter {
    ($(#[$doc:meta])* value $raw:ident $($path:ident).+ : $ty:tt => $set:ident) => {
        $(#[$doc])*
        pub(crate) fn $set(self, value: $ty) {
            // SAFETY: the handle's pointer is valid during 'p (`from_raw`), and
            // no reference covers the field.
            unsafe { (*self.0.as_ptr()).$($path).+ = value }
        }
    };

    ($(#[$doc:meta])* link $raw:ident $field:ident : $ty:ident => $set:ident) => {
        $(#[$doc])*
        pub(crate) fn $set(self, value: Option<$ty<'p>>) {
            let raw = value.map_or(core::ptr::null_mut(), $ty::as_raw);

            // SAFETY: the handle's pointer is valid during 'p (`from_raw`), and
            // no reference covers the field.
            unsafe { (*self.0.as_ptr()).$field = raw }
        }
    };

    ($(#[$doc:meta])* always $raw:ident $field:ident : $ty:ident => $set:ident) => {
        $(#[$doc])*
        pub(crate) fn $set(self, value: $ty<'p>) {
            // SAFETY: the handle's pointer is valid during 'p (`from_raw`), and
            // no reference covers the field.
            unsafe { (*self.0.as_ptr()).$field = value.as_raw() }
        }
    };

    ($(#[$doc:meta])* flag $raw:ident $field:ident : ($bit:ident, $set_bit:ident) => $set:ident) => {
        $(#[$doc])*
        pub(crate) fn $set(self, value: bool) {
            // SAFETY: the handle's pointer is valid during 'p (`from_raw`), and
            // no reference covers the field.
            unsafe { $raw::$set_bit(self.0.as_ptr(), value.into()) }
        }
    };
}

/// One row of the table for the layout test.
#[cfg(test)]
macro_rules! layout_field {
    (value $raw:ident $($path:ident).+ : $ty:tt) => {
        $crate::nginx::layout::Field::Bytes {
            name: stringify!($($path).+),
            offset: core::mem::offset_of!($raw, $($path).+),
            size: size_of::<$ty>(),
        }
    };
    (link $raw:ident $field:ident : $ty:ident) => {
        $crate::nginx::layout::Field::Bytes {
            name: stringify!($field),
            offset: core::mem::offset_of!($raw, $field),
            size: size_of::<*mut u8>(),
        }
    };
    (always $raw:ident $field:ident : $ty:ident) => {
        $crate::nginx::handle::layout_field!(link $raw $field : $ty)
    };
    (setting $raw:ident $field:ident : $ty:ident) => {
        $crate::nginx::handle::layout_field!(value $raw $field : $ty)
    };
    (flag $raw:ident $field:ident : ($raw_get:ident, $raw_set:ident)) => {
        $crate::nginx::layout::Field::Bit {
            name: stringify!($field),
            get: |raw| {
                // SAFETY: the test passes a structure of its own.
                unsafe { $raw::$raw_get(raw) != 0 }
            },
            set: |raw| {
                // SAFETY: the test passes a structure of its own.
                unsafe { $raw::$raw_set(raw, 1) }
            },
        }
    };
}

pub(super) use {accessor, handle, setter};

#[cfg(test)]
pub(super) use layout_field;
