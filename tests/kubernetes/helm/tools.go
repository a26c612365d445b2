//go:build tools

// Package helm pins the Helm that the tests install the charts with.
// Nothing is compiled from this file: its import keeps the command in go.mod.
package helm

import _ "helm.sh/helm/v4/cmd/helm"
