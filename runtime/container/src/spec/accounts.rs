//! Who runs: users and groups by the image's own passwd and group files, which are hostile.

use crate::{Error, Kind, Result};
use cri_api::v1::{LinuxContainerSecurityContext, SupplementalGroupsPolicy};
use image::{Principal, User};

/// Highest id of a user or group: others are taken for negative ones somewhere.
const ID_MAX: i64 = i32::MAX as i64;

/// Groups of one user at most (NGROUPS_MAX of the kernel).
const GROUPS_MAX: usize = 65_536;

/// The files of an image; empty where it has none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Accounts {
    pub(crate) passwd: Vec<u8>,
    pub(crate) group: Vec<u8>,
}

/// Who a process runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups, the own one among them.
    pub(crate) groups: Vec<u32>,
}

/// What is asked for, as one user and one group.
struct Asked {
    user: Principal,
    group: Option<Principal>,
}

/// A line of passwd.
struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
}

impl Accounts {
    fn users(&self) -> impl Iterator<Item = Passwd<'_>> {
        fields(&self.passwd).filter_map(|line| {
            let mut parts = line.split(':');
            let (name, _, uid, gid) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
            Some(Passwd { name, uid: id(uid)?, gid: id(gid)? })
        })
    }

    /// Name, number and members of groups.
    fn groups(&self) -> impl Iterator<Item = (&str, u32, &str)> {
        fields(&self.group).filter_map(|line| {
            let mut parts = line.split(':');
            let (name, _, gid) = (parts.next()?, parts.next()?, parts.next()?);
            Some((name, id(gid)?, parts.next().unwrap_or_default()))
        })
    }
}

fn fields(file: &[u8]) -> impl Iterator<Item = &str> {
    let lines = file.split(|byte| *byte == b'\n');
    lines.filter_map(|line| std::str::from_utf8(line).ok().map(str::trim_end))
}

fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| i64::from(*id) <= ID_MAX)
}

fn number(field: &str, value: i64) -> Result<Principal> {
    match u32::try_from(value).ok().filter(|_| value <= ID_MAX) {
        Some(id) => Ok(Principal::Id(id)),
        None => {
            let cause = format!("{value} is no id: want 0 to {ID_MAX}");
            Err(Error::new(Kind::Invalid, field, cause))
        }
    }
}

fn asked(context: &LinuxContainerSecurityContext, image: &User) -> Result<Asked> {
    let group = context.run_as_group.map(|g| number("run_as_group", g.value)).transpose()?;
    if let Some(user) = context.run_as_user {
        return Ok(Asked { user: number("run_as_user", user.value)?, group });
    }
    if !context.run_as_username.is_empty() {
        let subject = format!("run_as_username {:?}", context.run_as_username);
        let named: User = context
            .run_as_username
            .parse()
            .map_err(|e| Error::new(Kind::Invalid, subject, format!("{e}")))?;
        return Ok(Asked { user: named.user, group: group.or(named.group) });
    }
    if group.is_some() {
        let e = Error::new(Kind::Invalid, "run_as_group", "is set without run_as_user");
        return Err(e.with_advice("set run_as_user or run_as_username too"));
    }
    Ok(Asked { user: image.user.clone(), group: image.group.clone() })
}

/// Who a container runs as: the user that it asks for, or else the image's.
///
/// # Errors
/// A name is not in the image's files, or an id is out of range.
pub(crate) fn identity(
    context: &LinuxContainerSecurityContext,
    image: &User,
    accounts: &Accounts,
) -> Result<Identity> {
    let asked = asked(context, image)?;
    let line = accounts.users().find(|line| match &asked.user {
        Principal::Id(uid) => line.uid == *uid,
        Principal::Name(name) => line.name == name,
    });
    let missing = |kind: &str, name: &str, file: &str| {
        let e = Error::new(Kind::Invalid, format!("{kind} {name:?}"), format!("is not in {file}"));
        e.with_advice("name one of the image, or a number")
    };
    let (uid, mut gid) = match (&asked.user, &line) {
        (_, Some(line)) => (line.uid, line.gid),
        (Principal::Id(uid), None) => (*uid, 0),
        (Principal::Name(name), None) => return Err(missing("user", name, "/etc/passwd")),
    };
    match &asked.group {
        Some(Principal::Id(asked)) => gid = *asked,
        Some(Principal::Name(name)) => {
            let found = accounts.groups().find(|(group, ..)| group == name);
            gid = found.ok_or_else(|| missing("group", name, "/etc/group"))?.1;
        }
        None => {}
    }
    let mut groups = vec![gid];
    let mut add = |gid: u32| {
        if !groups.contains(&gid) && groups.len() < GROUPS_MAX {
            groups.push(gid);
        }
    };
    for asked in &context.supplemental_groups {
        match number("supplemental_groups", *asked)? {
            Principal::Id(gid) => add(gid),
            Principal::Name(_) => {}
        }
    }
    if context.supplemental_groups_policy() == SupplementalGroupsPolicy::Merge {
        let name = line.as_ref().map(|line| line.name).unwrap_or_default();
        let is_member = |members: &str| !name.is_empty() && members.split(',').any(|m| m == name);
        accounts.groups().filter(|(.., members)| is_member(members)).for_each(|g| add(g.1));
    }
    Ok(Identity { uid, gid, groups })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cri_api::v1::Int64Value;

    fn accounts() -> Accounts {
        Accounts {
            passwd: b"root:x:0:0:root:/root:/bin/sh\nbad line\n\xff:x:1:1::/:\n\
                app:x:1000:1001:app:/:/bin/sh\nroot2:x:4294967296:0::/:\n"
                .to_vec(),
            group: b"root:x:0:root\napps:x:1001:\nextra:x:50000:other,app\nmore:x:50001:app\n"
                .to_vec(),
        }
    }

    fn of(context: LinuxContainerSecurityContext, image: &str) -> Result<Identity> {
        identity(&context, &image.parse().expect("a user"), &accounts())
    }

    fn int(value: i64) -> Option<Int64Value> {
        Some(Int64Value { value })
    }

    fn context() -> LinuxContainerSecurityContext {
        LinuxContainerSecurityContext::default()
    }

    #[test]
    fn the_image_says_who_unless_the_container_does() {
        let is = |found: Result<Identity>, uid, gid, groups: &[u32]| {
            let groups = groups.to_vec();
            assert_eq!(found.expect("found"), Identity { uid, gid, groups });
        };
        is(of(context(), ""), 0, 0, &[0]);
        is(of(context(), "app"), 1000, 1001, &[1001, 50_000, 50_001]);
        is(of(context(), "1000"), 1000, 1001, &[1001, 50_000, 50_001]);
        is(of(context(), "app:extra"), 1000, 50_000, &[50_000, 50_001]);
        is(of(context(), "4000"), 4000, 0, &[0]);
        is(of(context(), "4000:77"), 4000, 77, &[77]);
        let user = LinuxContainerSecurityContext { run_as_user: int(1000), ..context() };
        is(of(user.clone(), "root"), 1000, 1001, &[1001, 50_000, 50_001]);
        let grouped = LinuxContainerSecurityContext { run_as_group: int(5), ..user.clone() };
        is(of(grouped.clone(), "root:root"), 1000, 5, &[5, 50_000, 50_001]);
        let named =
            LinuxContainerSecurityContext { run_as_username: "app".to_owned(), ..context() };
        is(of(named, "root"), 1000, 1001, &[1001, 50_000, 50_001]);
        let strict = LinuxContainerSecurityContext {
            supplemental_groups: vec![7, 1001, 7],
            supplemental_groups_policy: SupplementalGroupsPolicy::Strict.into(),
            ..user
        };
        is(of(strict, ""), 1000, 1001, &[1001, 7]);
    }

    #[test]
    fn what_is_nobody_is_refused() {
        let with = |user: i64| {
            let context = LinuxContainerSecurityContext { run_as_user: int(user), ..context() };
            of(context, "")
        };
        for user in [-1, 1 << 31, 1 << 32, i64::MAX, i64::MIN] {
            assert_eq!(with(user).expect_err("no id").kind(), Kind::Invalid, "{user}");
        }
        for image in ["nobody", "app:nobody", "root2"] {
            assert_eq!(of(context(), image).expect_err("no user").kind(), Kind::Invalid);
        }
        let lone = LinuxContainerSecurityContext { run_as_group: int(5), ..context() };
        assert!(of(lone, "app").is_err(), "a group without a user");
        let groups = LinuxContainerSecurityContext { supplemental_groups: vec![-1], ..context() };
        assert!(of(groups, "app").is_err());
        let name = LinuxContainerSecurityContext { run_as_username: "-1".to_owned(), ..context() };
        assert!(of(name, "app").is_err());
    }
}
