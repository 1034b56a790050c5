//! Usage of pods, containers and images: CRI statistics and metrics.
