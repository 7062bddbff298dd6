//! Tests of the mesh on an engine.
