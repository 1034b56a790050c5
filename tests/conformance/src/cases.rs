//! The table.

mod attach;
mod collect;
mod drift;
mod input;
mod kill;
mod names;
mod versions;

use crate::Subject;
use crate::verdict::Asks;

/// A demand on every plugin.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name, as a test has it.
    pub name: &'static str,
    /// The kind of case that it is one of.
    pub group: &'static str,
    /// Where the demand comes from.
    pub origin: Origin,
    /// What it demands, in a line.
    pub demand: &'static str,
    /// What it needs of a subject and of the machine.
    pub asks: &'static [Asks],
    /// Fails by panic.
    pub run: fn(&Subject),
}

/// Where a demand comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The CNI specification says so.
    Specification,
    /// What nodes suffer from where it is not so.
    Experience,
}

impl Origin {
    /// Its name in reports and options.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Specification => "specification",
            Origin::Experience => "experience",
        }
    }
}

macro_rules! table {
    ($($module:ident { $($case:ident $origin:ident [$($asks:ident),*] $demand:literal,)+ })+) => {
        /// All cases, in the order in which [`crate::enter!`] names them.
        pub const CASES: &[Case] = &[$($(Case {
            name: stringify!($case),
            group: stringify!($module),
            origin: Origin::$origin,
            demand: $demand,
            asks: &[$(Asks::$asks),*],
            run: $module::$case,
        }),+),+];
    };
}

table! {
    attach {
        add_and_del Specification []
            "ADD attaches and tells what it made, CHECK agrees, DEL takes all of it away",
        cold_add_and_del Experience []
            "the first ADD and DEL on a fresh node leave only what is meant to stay",
        add_twice Specification []
            "a second ADD of one attachment is refused, or changes nothing",
        del_twice Specification []
            "DEL succeeds when there is nothing to delete, and touches no other pod",
        del_without_netns Specification []
            "DEL without CNI_NETNS succeeds and frees what it can find",
        del_after_the_namespace_is_gone Specification []
            "DEL frees what the pod had on the node when its namespace is gone",
        del_with_a_configuration_that_add_refuses Experience [Invalid]
            "DEL works with a configuration that has become invalid",
        del_with_the_result_of_another_pod Experience []
            "a forged prevResult does not widen what DEL takes away",
    }
    kill {
        sigkill_at_any_point_of_add Experience [Tracer]
            "an ADD that was killed at any point leaves nothing after DEL or GC",
        sigkill_at_any_point_of_del Experience [Tracer]
            "a DEL that was killed at any point leaves nothing after the next, or GC",
        sigkill_of_the_ipam_plugin Experience [Ipam, Tracer]
            "an ADD whose IPAM plugin is killed fails and has undone its part",
    }
    drift {
        check_sees_each_drift Specification [Drifts]
            "CHECK fails when what ADD made is gone or changed, and repairs nothing",
        check_needs_prev_result Specification []
            "CHECK without prevResult is refused",
    }
    collect {
        gc_keeps_the_valid_and_frees_the_rest Specification [Gc]
            "GC frees what no valid attachment owns, and nothing else",
        gc_leaves_other_networks_alone Specification [Gc]
            "GC of another network touches nothing",
        gc_needs_a_list Specification [Gc]
            "GC without a list of valid attachments is refused",
        status_is_ready Specification [Gc]
            "STATUS succeeds where ADD does, and changes nothing",
        status_without_the_ipam_plugin Specification [Gc, Ipam]
            "STATUS says 50 when the IPAM plugin is missing",
        status_and_add_with_an_exhausted_pool Experience [Gc, Pool]
            "STATUS says 50, and ADD fails and leaves nothing, when no address is free",
        status_without_a_program Specification [Gc, Program]
            "STATUS says 50 when a program that ADD runs is missing",
    }
    versions {
        version_answers_in_the_version_asked Specification []
            "VERSION lists the versions, in a document of the version asked",
        every_version_of_the_specification Specification []
            "results have the form of each version that is supported",
        errors_in_the_version_asked Specification []
            "documents of errors have the configuration's version, too",
        verbs_younger_than_the_version Specification [Older]
            "verbs that the configuration's version does not have are refused",
    }
    input {
        bad_json Specification []
            "input that is no JSON object is refused as such (6)",
        unknown_version Specification []
            "a version that is not supported is refused as such (1)",
        unknown_keys_and_nulls Experience []
            "unknown keys and nulls are ignored, so that newer configurations work",
        wrong_types Specification []
            "values of a wrong type are refused (6) and leave nothing",
        invalid_values Specification [Invalid]
            "values that are not valid are refused (7) and leave nothing",
        missing_variables Specification []
            "each missing or empty variable is refused (4) and named",
        unknown_command Specification []
            "an unknown CNI_COMMAND is refused (4)",
    }
    names {
        hostile_container_ids Specification []
            "container IDs outside of the specification's alphabet are refused (4); 200 letters work",
        hostile_interface_names Specification []
            "interface names that Linux does not allow are refused (4)",
        hostile_network_names Specification []
            "network names outside of the specification's alphabet are refused (7); 200 letters work",
        hostile_ipam_types Experience [Ipam]
            "an IPAM type that is a path is not run",
        hostile_namespaces Experience []
            "a CNI_NETNS that is no other network namespace is refused by ADD; DEL succeeds",
        oversized_input Experience []
            "20 MB of configuration are refused, or work; 200 kB work",
    }
}
