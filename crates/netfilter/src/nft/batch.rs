//! A transaction: changes that happen all or not at all.

use super::object::{Chain, ChainRef, Family, Table, user_data};
use super::rule::Rule;
use super::set::{Element, Set, SetRef};
use super::wire::{
    BATCH_BEGIN, BATCH_END, F_APPEND, F_CREATE, F_ECHO, F_EXCL, F_REQUEST, Header, RES_SUBSYSTEM,
    Writer, message_type,
};

const NEWTABLE: u16 = 0;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const DELCHAIN: u16 = 5;
const NEWRULE: u16 = 6;
const DELRULE: u16 = 8;
const NEWSET: u16 = 9;
const DELSET: u16 = 11;
const NEWSETELEM: u16 = 12;
const DELSETELEM: u16 = 14;

/// Longest comment that `nft` accepts when it reads a rule back, in bytes.
pub const COMMENT_MAX: usize = 128;
/// Most bytes of user data that the kernel keeps with a rule.
const USER_DATA_MAX: usize = 256;
/// Elements per message: the list has a 16-bit length.
const ELEMENTS_PER_MESSAGE: usize = 128;

/// Changes to be committed together with [`super::Nft::commit`].
///
/// Adding a table, chain or set that exists with the same properties changes nothing.
/// Deleting what does not exist fails the whole batch with ENOENT.
#[derive(Clone)]
pub struct Batch {
    pub(crate) writer: Writer,
    /// What each message does, in words; message `i` has the sequence number `i + 1`.
    pub(crate) ops: Vec<String>,
    /// Where the last message begins.
    pub(crate) last: usize,
    /// Rules whose handles are asked for.
    pub(crate) echoes: usize,
    /// A fault of the caller's, reported by commit: op and cause.
    pub(crate) fault: Option<(String, String)>,
    sets: u32,
}

impl Default for Batch {
    fn default() -> Batch {
        Batch::new()
    }
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::begin(None)
    }

    /// An empty batch that fails with ERESTART when the ruleset of this namespace is no longer
    /// the generation `id` ([`super::Nft::generation`]): whatever was read since still holds when
    /// it is committed.
    pub fn at_generation(id: u32) -> Batch {
        Batch::begin(Some(id))
    }

    fn begin(generation: Option<u32>) -> Batch {
        let mut writer = Writer::with_capacity(2048);
        let header = Header {
            kind: BATCH_BEGIN,
            flags: F_REQUEST,
            seq: 0,
            family: 0,
            res_id: RES_SUBSYSTEM,
        };
        writer.message(header, |w| {
            if let Some(id) = generation {
                w.be32(1, id);
            }
        });
        Batch { writer, ops: Vec::new(), last: 0, echoes: 0, fault: None, sets: 0 }
    }

    /// The number of changes.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    fn push(
        &mut self,
        op: String,
        (number, flags, family): (u16, u16, Family),
        fill: impl FnOnce(&mut Writer),
    ) {
        self.ops.push(op);
        let header = Header {
            kind: message_type(number),
            flags: F_REQUEST | flags,
            seq: u32::try_from(self.ops.len()).unwrap_or(u32::MAX),
            family: family as u8,
            res_id: 0,
        };
        self.last = self.writer.message(header, fill);
    }

    pub(crate) fn finish(&mut self) {
        let header = Header {
            kind: BATCH_END,
            flags: F_REQUEST,
            seq: u32::try_from(self.ops.len() + 1).unwrap_or(u32::MAX),
            family: 0,
            res_id: RES_SUBSYSTEM,
        };
        self.writer.message(header, |_| {});
    }

    fn check_comment(&mut self, comment: Option<&str>, owner: Option<&[u8]>) {
        let comment_len = comment.map_or(0, str::len);
        let total = user_data(comment, owner).len();
        let cause = if comment_len > COMMENT_MAX {
            format!("a comment of {comment_len} bytes, at most {COMMENT_MAX} are allowed")
        } else if total > USER_DATA_MAX || owner.is_some_and(|o| o.len() > 255) {
            format!("{total} bytes of user data, at most {USER_DATA_MAX} are allowed")
        } else {
            return;
        };
        let op = self.ops.last().cloned().unwrap_or_default();
        self.fault.get_or_insert((op, cause));
    }

    /// Adds a table.
    pub fn add_table(&mut self, table: &Table<'_>) {
        let op = format!("add table {} {}", table.family.as_str(), table.name);
        self.push(op, (NEWTABLE, F_CREATE, table.family), |w| {
            w.string(1, table.name);
            w.be32(2, 0);
            if let Some(comment) = table.comment {
                w.raw(6, &user_data(Some(comment), None));
            }
        });
        self.check_comment(table.comment, None);
    }

    /// Deletes a table with all it holds.
    pub fn delete_table(&mut self, family: Family, name: &str) {
        let op = format!("delete table {} {name}", family.as_str());
        self.push(op, (DELTABLE, 0, family), |w| w.string(1, name));
    }

    /// Adds a chain.
    pub fn add_chain(&mut self, chain: &Chain<'_>) {
        let op = format!("add chain {}", chain.at);
        self.push(op, (NEWCHAIN, F_CREATE, chain.at.family), |w| chain.write(w));
        self.check_comment(chain.comment, None);
    }

    /// Deletes all rules of a chain.
    pub fn flush_chain(&mut self, chain: ChainRef<'_>) {
        self.push(format!("flush chain {chain}"), (DELRULE, 0, chain.family), |w| {
            w.string(1, chain.table);
            w.string(2, chain.name);
        });
    }

    /// Deletes an empty chain that nothing jumps to.
    pub fn delete_chain(&mut self, chain: ChainRef<'_>) {
        self.push(format!("delete chain {chain}"), (DELCHAIN, 0, chain.family), |w| {
            w.string(1, chain.table);
            w.string(3, chain.name);
        });
    }

    /// Adds a rule at the end of its chain.
    pub fn add_rule(&mut self, rule: &Rule<'_>) {
        self.rule("add", F_CREATE | F_APPEND, rule);
    }

    /// As [`Batch::add_rule`]; the receipt of the commit lists the rule's handle.
    pub fn add_rule_echo(&mut self, rule: &Rule<'_>) {
        self.echoes += 1;
        self.rule("add", F_CREATE | F_APPEND | F_ECHO, rule);
    }

    /// Adds a rule at the start of its chain.
    pub fn insert_rule(&mut self, rule: &Rule<'_>) {
        self.rule("insert", F_CREATE, rule);
    }

    fn rule(&mut self, verb: &str, flags: u16, rule: &Rule<'_>) {
        let op = format!("{verb} rule {}", rule.chain);
        self.push(op, (NEWRULE, flags, rule.chain.family), |w| rule.write(w));
        self.check_comment(rule.comment.as_deref(), rule.owner.as_deref());
    }

    /// Deletes one rule.
    pub fn delete_rule(&mut self, chain: ChainRef<'_>, handle: u64) {
        let op = format!("delete rule {chain} handle {handle}");
        self.push(op, (DELRULE, 0, chain.family), |w| {
            w.string(1, chain.table);
            w.string(2, chain.name);
            w.be64(3, handle);
        });
    }

    /// Adds a set or map.
    pub fn add_set(&mut self, set: &Set<'_>) {
        self.sets += 1;
        let id = self.sets;
        self.push(format!("add set {}", set.at), (NEWSET, F_CREATE, set.at.family), |w| {
            set.write(w, id);
        });
    }

    /// Deletes a set that no rule uses.
    pub fn delete_set(&mut self, set: SetRef<'_>) {
        self.push(format!("delete set {set}"), (DELSET, 0, set.family), |w| {
            w.string(1, set.table);
            w.string(2, set.name);
        });
    }

    /// Adds elements. One that is in the set already, with the same data, changes nothing; in a
    /// map, one whose key is there with other data fails the batch with EEXIST.
    pub fn add_elements(&mut self, set: SetRef<'_>, elements: &[Element]) {
        self.elements(("add element", NEWSETELEM, F_CREATE), set, elements);
    }

    /// Adds elements; fails the batch with EEXIST when one is there already.
    pub fn create_elements(&mut self, set: SetRef<'_>, elements: &[Element]) {
        self.elements(("create element", NEWSETELEM, F_CREATE | F_EXCL), set, elements);
    }

    /// Deletes elements by key.
    pub fn delete_elements(&mut self, set: SetRef<'_>, elements: &[Element]) {
        self.elements(("delete element", DELSETELEM, 0), set, elements);
    }

    fn elements(
        &mut self,
        (verb, number, flags): (&str, u16, u16),
        set: SetRef<'_>,
        elements: &[Element],
    ) {
        for part in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.push(format!("{verb} {set}"), (number, flags, set.family), |w| {
                w.string(1, set.table);
                w.string(2, set.name);
                w.nest(3, |w| part.iter().for_each(|element| element.write(w)));
            });
            for element in part {
                self.check_comment(element.comment.as_deref(), element.owner.as_deref());
            }
        }
    }
}
