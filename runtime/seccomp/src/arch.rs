//! Architectures: how seccomp sees them.

use crate::table::Column;
use runtime_spec::SeccompArch;

/// The bit that marks x32 calls (`__X32_SYSCALL_BIT`).
pub(crate) const X32_BIT: u32 = 0x4000_0000;

/// The architecture this program is built for, if it has a table of system calls.
#[must_use]
pub const fn native() -> Option<SeccompArch> {
    let little = cfg!(target_endian = "little");
    Some(match () {
        () if cfg!(all(target_arch = "x86_64", target_pointer_width = "32")) => SeccompArch::X32,
        () if cfg!(target_arch = "x86_64") => SeccompArch::X86_64,
        () if cfg!(target_arch = "x86") => SeccompArch::X86,
        () if cfg!(target_arch = "aarch64") && little => SeccompArch::Aarch64,
        () if cfg!(target_arch = "arm") && little => SeccompArch::Arm,
        () if cfg!(target_arch = "riscv64") => SeccompArch::Riscv64,
        () if cfg!(target_arch = "loongarch64") => SeccompArch::Loongarch64,
        () if cfg!(target_arch = "s390x") => SeccompArch::S390x,
        () if cfg!(target_arch = "powerpc64") && little => SeccompArch::Ppc64le,
        () if cfg!(target_arch = "powerpc64") => SeccompArch::Ppc64,
        () if cfg!(target_arch = "powerpc") => SeccompArch::Ppc,
        () if cfg!(target_arch = "mips64") && little => SeccompArch::Mipsel64,
        () if cfg!(target_arch = "mips64") => SeccompArch::Mips64,
        () if cfg!(target_arch = "mips") && little => SeccompArch::Mipsel,
        () if cfg!(target_arch = "mips") => SeccompArch::Mips,
        () => return None,
    })
}

/// What a filter needs to know of an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// `AUDIT_ARCH_*` of linux/audit.h, as `seccomp_data.arch` has it.
    pub(crate) audit: u32,
    /// What is added to the numbers of the table.
    pub(crate) base: u32,
    /// The column of the table.
    pub(crate) column: Column,
    /// Whether arguments are compared with all 64 bits.
    pub(crate) wide: bool,
}

/// The facts of an architecture, if it has a table.
pub(crate) const fn facts(arch: SeccompArch) -> Option<Facts> {
    use SeccompArch as A;
    let (audit, base, column, wide) = match arch {
        A::X86_64 => (0xc000_003e, 0, Column::X86_64, true),
        A::X86 => (0x4000_0003, 0, Column::X86, false),
        A::X32 => (0xc000_003e, X32_BIT, Column::X32, false),
        A::Aarch64 => (0xc000_00b7, 0, Column::Aarch64, true),
        A::Arm => (0x4000_0028, 0, Column::Arm, false),
        A::Mips => (0x0000_0008, 4000, Column::Mips, false),
        A::Mipsel => (0x4000_0008, 4000, Column::Mips, false),
        A::Mips64 => (0x8000_0008, 5000, Column::Mips64, true),
        A::Mipsel64 => (0xc000_0008, 5000, Column::Mips64, true),
        A::Mips64N32 => (0xa000_0008, 6000, Column::Mips64N32, false),
        A::Mipsel64N32 => (0xe000_0008, 6000, Column::Mips64N32, false),
        A::Ppc => (0x0000_0014, 0, Column::Ppc, false),
        A::Ppc64 => (0x8000_0015, 0, Column::Ppc64, true),
        A::Ppc64le => (0xc000_0015, 0, Column::Ppc64, true),
        A::S390 => (0x0000_0016, 0, Column::S390, false),
        A::S390x => (0x8000_0016, 0, Column::S390x, true),
        A::Riscv64 => (0xc000_00f3, 0, Column::Riscv64, true),
        A::Loongarch64 => (0xc000_0102, 0, Column::Loongarch64, true),
        A::Parisc | A::Parisc64 | A::M68k | A::Sh | A::Sheb => return None,
    };
    Some(Facts { audit, base, column, wide })
}

/// The architectures whose programs a kernel for `native` can run, `native` first.
pub(crate) const fn family(native: SeccompArch) -> &'static [SeccompArch] {
    use SeccompArch as A;
    match native {
        A::X86_64 => &[A::X86_64, A::X32, A::X86],
        A::X32 => &[A::X32, A::X86_64, A::X86],
        A::X86 => &[A::X86, A::X86_64, A::X32],
        A::Aarch64 => &[A::Aarch64, A::Arm],
        A::Arm => &[A::Arm, A::Aarch64],
        A::Mips64 => &[A::Mips64, A::Mips64N32, A::Mips],
        A::Mips64N32 => &[A::Mips64N32, A::Mips64, A::Mips],
        A::Mips => &[A::Mips, A::Mips64, A::Mips64N32],
        A::Mipsel64 => &[A::Mipsel64, A::Mipsel64N32, A::Mipsel],
        A::Mipsel64N32 => &[A::Mipsel64N32, A::Mipsel64, A::Mipsel],
        A::Mipsel => &[A::Mipsel, A::Mipsel64, A::Mipsel64N32],
        A::Ppc64 => &[A::Ppc64, A::Ppc],
        A::Ppc => &[A::Ppc, A::Ppc64],
        A::Ppc64le => &[A::Ppc64le],
        A::S390x => &[A::S390x, A::S390],
        A::S390 => &[A::S390, A::S390x],
        A::Riscv64 => &[A::Riscv64],
        A::Loongarch64 => &[A::Loongarch64],
        A::Parisc | A::Parisc64 | A::M68k | A::Sh | A::Sheb => &[],
    }
}
