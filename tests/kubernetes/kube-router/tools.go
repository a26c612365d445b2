//go:build tools

// Package kuberouter pins what enforces NetworkPolicies in the test cluster.
// Nothing is compiled from this file: its import keeps the command in go.mod.
package kuberouter

import _ "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router"
