//! System calls: names and numbers, of the kernel's headers up to Linux 7.0.
//!
//! `syscalls.tbl` is read while compiling. The program holds the names as one text with offsets,
//! and a column of numbers for each architecture: nothing is parsed, relocated or touched at
//! start but what a search needs.

/// The table as text: a head, then a line for each name, sorted; `-` where there is no such call.
const SOURCE: &[u8] = include_bytes!("syscalls.tbl");
const COLUMNS: usize = 14;
const LINES: Lines = lines(SOURCE);
const COUNT: usize = LINES.count;
/// No such call.
const NONE: u16 = u16::MAX;
/// Where Arm's private calls (0x0f0000 and up) are put to fit 16 bits.
const ARM_PRIVATE: u32 = 0x000f_0000;
const ARM_MARK: u16 = 0xf000;

static TABLE: Table = parse(SOURCE);

/// A column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
    Mips,
    Mips64,
    Mips64N32,
    Ppc,
    Ppc64,
    S390,
    S390x,
    Riscv64,
    Loongarch64,
}

/// A name's line in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row(u16);

/// The row of a name.
pub(crate) fn row(name: &str) -> Option<Row> {
    let (mut low, mut high) = (0, COUNT);
    while low < high {
        let middle = low.midpoint(high);
        match text(middle).cmp(name.as_bytes()) {
            std::cmp::Ordering::Equal => return u16::try_from(middle).ok().map(Row),
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    None
}

/// The number of a call, without the base of its architecture.
pub(crate) fn number(row: Row, column: Column) -> Option<u32> {
    let packed = TABLE.numbers[column as usize][row.0 as usize];
    match packed {
        NONE => None,
        private if private >= ARM_MARK => Some(ARM_PRIVATE + u32::from(private - ARM_MARK)),
        plain => Some(u32::from(plain)),
    }
}

fn text(index: usize) -> &'static [u8] {
    let (from, to) = (TABLE.starts[index] as usize, TABLE.starts[index + 1] as usize);
    &TABLE.text[from..to]
}

struct Table {
    /// All names, end to end.
    text: [u8; LINES.text],
    /// Where each name starts, and where the last ends.
    starts: [u16; COUNT + 1],
    numbers: [[u16; COUNT]; COLUMNS],
}

struct Lines {
    count: usize,
    text: usize,
}

/// Counts the lines after the head and the bytes of their names.
const fn lines(source: &[u8]) -> Lines {
    let (mut at, mut count, mut text) = (after(source, 0, b'\n'), 0, 0);
    while at < source.len() {
        text += after(source, at, b' ') - at - 1;
        count += 1;
        at = after(source, at, b'\n');
    }
    Lines { count, text }
}

/// The place behind the next `byte`.
const fn after(source: &[u8], mut at: usize, byte: u8) -> usize {
    while source[at] != byte {
        at += 1;
    }
    at + 1
}

const fn parse(source: &[u8]) -> Table {
    let mut table =
        Table { text: [0; LINES.text], starts: [0; COUNT + 1], numbers: [[NONE; COUNT]; COLUMNS] };
    let (mut at, mut line, mut used) = (after(source, 0, b'\n'), 0, 0);
    while line < COUNT {
        while source[at] != b' ' {
            table.text[used] = source[at];
            used += 1;
            at += 1;
        }
        let mut column = 0;
        while column < COLUMNS {
            let mut value = if source[at + 1] == b'-' { NONE as u32 } else { 0 };
            at += 1;
            while source[at] != b' ' && source[at] != b'\n' {
                if source[at] != b'-' {
                    value = value * 10 + (source[at] - b'0') as u32;
                }
                at += 1;
            }
            table.numbers[column][line] = pack(value);
            column += 1;
        }
        at += 1;
        line += 1;
        table.starts[line] = used as u16;
    }
    table
}

const fn pack(value: u32) -> u16 {
    if value >= ARM_PRIVATE { ARM_MARK + (value - ARM_PRIVATE) as u16 } else { value as u16 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_found() {
        for index in 1..COUNT {
            assert!(text(index - 1) < text(index));
        }
        for index in 0..COUNT {
            let name = std::str::from_utf8(text(index)).expect("text");
            assert_eq!(row(name), Some(Row(index as u16)));
        }
        assert_eq!(row(""), None);
        assert_eq!(row("zzz"), None);
        assert_eq!(row("ope"), None);
    }

    #[test]
    fn numbers_are_those_of_the_kernel() {
        let at = |name: &str, column| number(row(name).expect("known"), column);
        assert_eq!(at("read", Column::X86_64), Some(0));
        assert_eq!(at("clone3", Column::X86_64), Some(libc::SYS_clone3 as u32));
        assert_eq!(at("socketcall", Column::X86_64), None);
        assert_eq!(at("socketcall", Column::X86), Some(102));
        assert_eq!(at("execve", Column::X32), Some(520));
        assert_eq!(at("openat", Column::Aarch64), Some(56));
        assert_eq!(at("set_tls", Column::Arm), Some(0x000f_0005));
        assert_eq!(at("read", Column::Mips), Some(3));
        assert_eq!(at("listns", Column::Mips64N32), Some(470));
    }
}
