//! Another process of the same user reads keys out of a core dump, or by ptrace: the programs allow neither.

use std::fs;

use crate::harness::World;

#[test]
fn no_program_may_be_dumped_or_traced() {
    let world = World::new();
    let workload = world.workload("--echo");
    let hop = world.hop(&workload.address, "");
    for pid in [workload.program.id(), hop.program.id()] {
        // proc(5): of a process that may not be dumped, the files belong to root, whoever runs it; and the limit says it.
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let dumping = status.lines().find(|line| line.starts_with("CoreDumping")).unwrap_or_default();
        assert!(!dumping.ends_with('1'), "{dumping}");
    }
}
