//! Typed links, addresses, routes and neighbours over rtnetlink.
