//go:build tools

// Package schemas pins the schema registry that `run` builds; it holds no code of its own.
package schemas

import _ "github.com/axonops/axonops-schema-registry/cmd/schema-registry"
