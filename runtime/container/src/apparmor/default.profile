  # Everything is let through but what is denied below: what a container may do is bounded by its
  # capabilities, its system call filter and its namespaces first, and this is behind them.
  network,
  capability,
  file,
  umount,

  # Nothing is mounted, whatever the capabilities.
  deny mount,

  # Signals and traces stay among containers.
  signal (send, receive) peer=podloom-default,
  ptrace (trace, read, tracedby, readby) peer=podloom-default,

  # /proc is written to below the directories of processes alone ...
  deny @{PROC}/* wkl,
  deny @{PROC}/{[^1-9s],s[^y],sy[^s],sys[^/]}*/** wkl,
  # ... and in /proc/sys where an IPC namespace has its limits: kernel/shm*, kernel/msg*, kernel/sem*.
  deny @{PROC}/sys/{[^k],k[^e],ke[^r]}** wkl,
  deny @{PROC}/sys/kernel/{[^sm],s[^he],sh[^m],se[^m],m[^s],ms[^g]}** wkl,
  # Memory of the node and orders to its kernel are not even read.
  deny @{PROC}/kcore rwklx,
  deny @{PROC}/sysrq-trigger rwklx,

  # /sys is written to in the control groups alone.
  deny /sys/{[^f],f[^s]}** wkl,
  deny /sys/fs/{[^c],c[^g],cg[^r]}** wkl,
  # Firmware, power meters (they tell what others compute), security modules.
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
