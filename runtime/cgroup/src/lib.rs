//! Control groups of containers: v1, v2 and hybrid, made directly or by systemd.
