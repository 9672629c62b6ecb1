//! The real programs against TLS stacks and attestation stacks that are not ours: whole programs, real sockets.
//!
//! `stacks` has the peers and what each of them cannot do; `clients` and `servers` are the scenarios, each for every stack.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../e2e/harness.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests")]
mod harness;
#[path = "../e2e/program.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests")]
mod program;
#[path = "../e2e/stream.rs"]
#[allow(dead_code, reason = "shared with the end-to-end tests")]
mod stream;

mod certificates;
mod clients;
mod originals;
mod rats;
mod running;
mod servers;
mod stacks;

/// Every scenario for every stack, a test each.
macro_rules! for_every_stack {
    ($($scenario:ident),* $(,)?) => {
        $crate::for_every_stack! { @stack openssl OpenSsl, $($scenario)* }
        $crate::for_every_stack! { @stack gnutls GnuTls, $($scenario)* }
        $crate::for_every_stack! { @stack python Python, $($scenario)* }
        $crate::for_every_stack! { @stack go Go, $($scenario)* }
        $crate::for_every_stack! { @stack java Java, $($scenario)* }
    };
    (@stack $module:ident $stack:ident, $($scenario:ident)*) => {
        mod $module {
            $(#[test]
            fn $scenario() {
                if let Some(stack) = $crate::stacks::Stack::$stack.installed() {
                    super::$scenario(stack);
                }
            })*
        }
    };
}
pub(crate) use for_every_stack;
