//! Content and metadata of images, durable.
