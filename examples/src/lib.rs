//! Configurations and programs that run as they stand.
