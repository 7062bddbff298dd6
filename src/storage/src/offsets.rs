//! The ends of a log. They are newtypes without conversions between them, so that no code can
//! take one for another: what is appended is not written, and what is written is not durable.

use std::fmt;

macro_rules! end {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

end! {
    /// The next offset to be given: Kafka's log end offset. Everything below has its order.
    AppendedEnd
}
end! {
    /// Below this offset every byte has been written, and survives the process. Never exceeds
    /// [`AppendedEnd`].
    WrittenEnd
}
end! {
    /// Below this offset every byte survives a power cut. Never exceeds [`WrittenEnd`].
    DurableEnd
}
