//! nf_tables over netlink: rules as data, one transaction per change, no `nft` program.
//!
//! ```no_run
//! use netfilter::nft::{BaseChain, Batch, Chain, ChainRef, ChainType, Family, Hook, Nft, Rule, Table};
//! let chain = ChainRef::new(Family::Ip, "demo", "post");
//! let base = BaseChain { kind: ChainType::Nat, hook: Hook::Postrouting, priority: 100 };
//! let mut batch = Batch::new();
//! batch.add_table(&Table { family: Family::Ip, name: "demo", comment: None });
//! batch.add_chain(&Chain::base(chain, base));
//! batch.add_rule_echo(&Rule::new(chain).oifname("eth0").masquerade().comment("pod a"));
//! let receipt = Nft::open()?.commit(batch)?;
//! println!("handle {}", receipt.handles[0]);
//! # Ok::<(), netfilter::nft::Error>(())
//! ```

mod batch;
mod error;
mod expr;
pub(crate) mod farewell;
mod object;
mod rule;
mod set;
mod socket;
mod wire;

pub use batch::{Batch, COMMENT_MAX};
pub use error::Error;
pub use expr::{
    CmpOp, Ct, Expr, Meta, NAT_FULLY_RANDOM, NAT_PROTO_SPECIFIED, NAT_RANDOM, NatKind, PayloadBase,
    Reg, Verdict,
};
pub use object::{
    BaseChain, Chain, ChainInfo, ChainRef, ChainType, Family, Hook, PRIORITY_DSTNAT,
    PRIORITY_SRCNAT, Table,
};
pub(crate) use rule::link_name;
pub use rule::{Address, Rule, RuleInfo};
pub use set::{DataType, Element, ElementData, MapData, Set, SetRef};
pub use socket::{Nft, Receipt};
