//! Tables, chains and their names.

use super::wire::{Attributes, Message, UserData, Writer, text};

/// The packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet = 1,
    /// IPv4.
    Ip = 2,
    /// Frames that enter by one link, before anything else sees them.
    Netdev = 5,
    /// Frames on a bridge.
    Bridge = 7,
    /// IPv6.
    Ip6 = 10,
}

impl Family {
    /// As `nft` writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Family::Inet => "inet",
            Family::Ip => "ip",
            Family::Netdev => "netdev",
            Family::Bridge => "bridge",
            Family::Ip6 => "ip6",
        }
    }
}

/// The name of a chain: its table's family and name, and its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChainRef<'a> {
    /// Family of the table.
    pub family: Family,
    /// Name of the table.
    pub table: &'a str,
    /// Name of the chain.
    pub name: &'a str,
}

impl<'a> ChainRef<'a> {
    /// The chain `name` of `table`.
    pub const fn new(family: Family, table: &'a str, name: &'a str) -> ChainRef<'a> {
        ChainRef { family, table, name }
    }
}

impl std::fmt::Display for ChainRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.family.as_str(), self.table, self.name)
    }
}

/// A table to be added.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    /// Family.
    pub family: Family,
    /// Name.
    pub name: &'a str,
    /// Comment, at most 128 bytes.
    pub comment: Option<&'a str>,
}

/// What a base chain may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainType {
    /// Accept and drop.
    Filter,
    /// Translate addresses.
    Nat,
}

/// Where a base chain is called; the numbers hold for ip, ip6, inet and bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Hook {
    /// Before routing.
    Prerouting = 0,
    /// To this node.
    Input = 1,
    /// Through this node.
    Forward = 2,
    /// From this node.
    Output = 3,
    /// After routing.
    Postrouting = 4,
}

/// Priority at which `nft` puts `dstnat`.
pub const PRIORITY_DSTNAT: i32 = -100;
/// Priority at which `nft` puts `srcnat`.
pub const PRIORITY_SRCNAT: i32 = 100;

/// How a base chain is called. Its policy is accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BaseChain {
    /// Type.
    pub kind: ChainType,
    /// Hook.
    pub hook: Hook,
    /// Lower is earlier.
    pub priority: i32,
}

/// A chain to be added; `base: None` for one that is only jumped to.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a> {
    /// Name.
    pub at: ChainRef<'a>,
    /// Hook, for a base chain.
    pub base: Option<BaseChain>,
    /// The link whose frames a base chain of [`Family::Netdev`] sees.
    pub device: Option<&'a str>,
    /// Comment, at most 128 bytes.
    pub comment: Option<&'a str>,
}

impl<'a> Chain<'a> {
    /// A chain that is jumped to.
    pub const fn regular(at: ChainRef<'a>) -> Chain<'a> {
        Chain { at, base: None, device: None, comment: None }
    }

    /// A chain that the kernel calls at a hook.
    pub const fn base(at: ChainRef<'a>, base: BaseChain) -> Chain<'a> {
        Chain { at, base: Some(base), device: None, comment: None }
    }

    /// A filter that the kernel calls for each frame that enters by `device`; it goes when the link
    /// goes, on some kernels.
    pub const fn ingress(at: ChainRef<'a>, device: &'a str, priority: i32) -> Chain<'a> {
        // The number of the ingress hook in this family is that of prerouting in the others.
        let base = BaseChain { kind: ChainType::Filter, hook: Hook::Prerouting, priority };
        Chain { at, base: Some(base), device: Some(device), comment: None }
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.string(1, self.at.table);
        w.string(3, self.at.name);
        if let Some(base) = self.base {
            w.nest(4, |w| {
                w.be32(1, base.hook as u32);
                w.raw(2, &base.priority.to_be_bytes());
                if let Some(device) = self.device {
                    w.string(3, device);
                }
            });
            w.be32(5, 1);
            w.string(
                7,
                match base.kind {
                    ChainType::Filter => "filter",
                    ChainType::Nat => "nat",
                },
            );
        }
        if let Some(comment) = self.comment {
            w.raw(12, &user_data(Some(comment), None));
        }
    }
}

/// A chain as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainInfo {
    /// Name of the table.
    pub table: String,
    /// Name.
    pub name: String,
    /// Handle.
    pub handle: u64,
    /// Rules in it and jumps to it.
    pub uses: u32,
    /// Whether it hangs at a hook.
    pub is_base: bool,
}

impl ChainInfo {
    pub(crate) fn read(message: &Message<'_>) -> Option<ChainInfo> {
        let attributes = message.attributes();
        Some(ChainInfo {
            table: attributes.text(1)?,
            handle: attributes.be64(2)?,
            name: attributes.text(3)?,
            is_base: attributes.find(4).is_some(),
            uses: attributes.be32(6).unwrap_or_default(),
        })
    }
}

/// Type of the comment in user data, the same for tables, chains, rules and set elements.
const UDATA_COMMENT: u8 = 0;
/// Type of our own entry. `nft` and its libraries skip the types they do not know.
const UDATA_OWNER: u8 = 0x80;

/// User data with a comment, ended by a NUL as `nft` expects, and an owner tag.
pub(crate) fn user_data(comment: Option<&str>, owner: Option<&[u8]>) -> Vec<u8> {
    let mut data = Vec::new();
    if let Some(comment) = comment {
        data.push(UDATA_COMMENT);
        data.push(u8::try_from(comment.len() + 1).unwrap_or(u8::MAX));
        data.extend_from_slice(comment.as_bytes());
        data.push(0);
    }
    if let Some(owner) = owner {
        data.push(UDATA_OWNER);
        data.push(u8::try_from(owner.len()).unwrap_or(u8::MAX));
        data.extend_from_slice(owner);
    }
    data
}

/// Comment and owner tag of some user data.
pub(crate) fn read_user_data(data: Option<&[u8]>) -> (Option<String>, Option<Vec<u8>>) {
    let (mut comment, mut owner) = (None, None);
    for (kind, value) in UserData(data.unwrap_or_default()) {
        match kind {
            UDATA_COMMENT => comment = Some(text(value)),
            UDATA_OWNER => owner = Some(value.to_vec()),
            _ => {}
        }
    }
    (comment, owner)
}

/// The comment of a table or chain listing; `kind` is the user data's attribute.
pub(crate) fn comment_of(attributes: Attributes<'_>, kind: u16) -> Option<String> {
    read_user_data(attributes.find(kind)).0
}
