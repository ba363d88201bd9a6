//go:build !sluice_defects

package gateway

// defect chooses a deliberate defect in a build for tests; here there is none.
const defect = ""
