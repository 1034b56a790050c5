//! Names, kinds, labels and help texts of the metrics.

use cri_api::v1::MetricType;

/// The labels of every metric, as kubelet's own have them.
pub(super) const BASE: [&str; 6] = ["container", "id", "image", "name", "namespace", "pod"];

/// How a metric is described.
#[derive(Clone, Copy, Debug)]
pub(super) struct Described {
    pub(super) name: &'static str,
    pub(super) kind: MetricType,
    /// Labels beyond [`BASE`].
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

/// Makes the names, their descriptions, and the list of all.
macro_rules! metrics {
    ($($variant:ident $name:literal $kind:ident [$($label:literal),*] $help:literal)*) => {
        /// A metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Name { $($variant),* }

        /// All metrics.
        pub(super) const ALL: &[Name] = &[$(Name::$variant),*];

        impl Name {
            pub(super) fn described(self) -> Described {
                match self {
                    $(Name::$variant => Described {
                        name: $name,
                        kind: MetricType::$kind,
                        labels: &[$($label),*],
                        help: $help,
                    }),*
                }
            }
        }
    };
}

metrics! {
    CpuUsage "container_cpu_usage_seconds_total" Counter [] "Processor time used, in seconds."
    CpuUser "container_cpu_user_seconds_total" Counter [] "Processor time used in user mode, in seconds."
    CpuSystem "container_cpu_system_seconds_total" Counter [] "Processor time used in the kernel, in seconds."
    CfsPeriods "container_cpu_cfs_periods_total" Counter [] "Periods in which the processor limit was enforced."
    CfsThrottled "container_cpu_cfs_throttled_periods_total" Counter [] "Periods in which the processor limit was met."
    CfsThrottledTime "container_cpu_cfs_throttled_seconds_total" Counter [] "Time held back by the processor limit, in seconds."
    CpuStalled "container_pressure_cpu_stalled_seconds_total" Counter [] "Time in which no task got on for want of a processor, in seconds."
    CpuWaiting "container_pressure_cpu_waiting_seconds_total" Counter [] "Time in which some task waited for a processor, in seconds."
    MemoryUsage "container_memory_usage_bytes" Gauge [] "Memory used, all kinds, in bytes."
    MemoryWorkingSet "container_memory_working_set_bytes" Gauge [] "Memory used without idle file pages, in bytes."
    MemoryRss "container_memory_rss" Gauge [] "Anonymous memory, in bytes."
    MemoryCache "container_memory_cache" Gauge [] "File pages, in bytes."
    MemorySwap "container_memory_swap" Gauge [] "Memory swapped out, in bytes."
    MemoryMapped "container_memory_mapped_file" Gauge [] "File pages that are mapped, in bytes."
    MemoryKernel "container_memory_kernel_usage" Gauge [] "Memory of the kernel, in bytes."
    MemoryPeak "container_memory_max_usage_bytes" Gauge [] "Most memory ever used, in bytes."
    MemoryFailures "container_memory_failcnt" Counter [] "How often the memory limit was met."
    MemoryActiveFile "container_memory_total_active_file_bytes" Gauge [] "File pages in use, in bytes."
    MemoryInactiveFile "container_memory_total_inactive_file_bytes" Gauge [] "Idle file pages, in bytes."
    MemoryFaults "container_memory_failures_total" Counter ["failure_type", "scope"] "Page faults, by type."
    MemoryStalled "container_pressure_memory_stalled_seconds_total" Counter [] "Time in which no task got on for want of memory, in seconds."
    MemoryWaiting "container_pressure_memory_waiting_seconds_total" Counter [] "Time in which some task waited for memory, in seconds."
    OomEvents "container_oom_events_total" Counter [] "Processes killed for want of memory."
    FsUsage "container_fs_usage_bytes" Gauge ["device"] "Size of the writable layer, in bytes."
    FsLimit "container_fs_limit_bytes" Gauge ["device"] "Size of the file system that the writable layer is on, in bytes."
    FsInodesFree "container_fs_inodes_free" Gauge ["device"] "Inodes that are free on that file system."
    FsInodes "container_fs_inodes_total" Gauge ["device"] "Inodes of that file system."
    FsReadBytes "container_fs_reads_bytes_total" Counter ["device"] "Bytes read from a block device."
    FsReads "container_fs_reads_total" Counter ["device"] "Reads from a block device."
    FsWriteBytes "container_fs_writes_bytes_total" Counter ["device"] "Bytes written to a block device."
    FsWrites "container_fs_writes_total" Counter ["device"] "Writes to a block device."
    DeviceUsage "container_blkio_device_usage_total" Counter ["device", "major", "minor", "operation"] "Bytes moved from or to a block device, by operation."
    IoStalled "container_pressure_io_stalled_seconds_total" Counter [] "Time in which no task got on for want of a disk, in seconds."
    IoWaiting "container_pressure_io_waiting_seconds_total" Counter [] "Time in which some task waited for a disk, in seconds."
    ReceiveBytes "container_network_receive_bytes_total" Counter ["interface"] "Bytes received."
    ReceivePackets "container_network_receive_packets_total" Counter ["interface"] "Packets received."
    ReceiveDropped "container_network_receive_packets_dropped_total" Counter ["interface"] "Packets dropped on receiving."
    ReceiveErrors "container_network_receive_errors_total" Counter ["interface"] "Errors on receiving."
    TransmitBytes "container_network_transmit_bytes_total" Counter ["interface"] "Bytes sent."
    TransmitPackets "container_network_transmit_packets_total" Counter ["interface"] "Packets sent."
    TransmitDropped "container_network_transmit_packets_dropped_total" Counter ["interface"] "Packets dropped on sending."
    TransmitErrors "container_network_transmit_errors_total" Counter ["interface"] "Errors on sending."
    Processes "container_processes" Gauge [] "Processes that run."
    Threads "container_threads" Gauge [] "Threads that run."
    ThreadsMax "container_threads_max" Gauge [] "Threads that may run; 0 for any number."
    Files "container_file_descriptors" Gauge [] "Files that are open."
    Sockets "container_sockets" Gauge [] "Sockets that are open."
    Ulimits "container_ulimits_soft" Gauge ["ulimit"] "Soft limits of the first process."
    LastSeen "container_last_seen" Gauge [] "When this was measured, in seconds since 1970."
    Started "container_start_time_seconds" Gauge [] "When it was started, in seconds since 1970."
    SpecPeriod "container_spec_cpu_period" Gauge [] "Period of the processor limit, in microseconds."
    SpecQuota "container_spec_cpu_quota" Gauge [] "Processor time in each period, in microseconds."
    SpecShares "container_spec_cpu_shares" Gauge [] "Share of the processors, beside others."
    SpecMemory "container_spec_memory_limit_bytes" Gauge [] "Memory limit, in bytes; 0 for none."
    SpecReservation "container_spec_memory_reservation_limit_bytes" Gauge [] "Memory that is protected softly, in bytes."
    SpecSwap "container_spec_memory_swap_limit_bytes" Gauge [] "Limit of memory and swap together, in bytes; 0 for none."
}
