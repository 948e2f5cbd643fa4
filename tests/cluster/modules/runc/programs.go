//go:build programs

// Package runc names the program that starts containers, so that `go mod tidy` keeps what it needs.
package runc

import _ "github.com/opencontainers/runc"
