//! What a process gives up at its start, so that the memory with its keys stays its own.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// No core dump, and no debugger of the same user: either would hand out hop keys and plaintext. Called before anything
/// else; there is no switch for it.
///
/// Root on the same kernel can still read the memory: in a TEE that is the guest's own root, which is measured.
pub fn keep_memory_private() -> std::io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(())
}
