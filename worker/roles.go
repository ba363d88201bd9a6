package worker

import (
	"errors"
	"strings"

	"sluice/shared/settings"
)

// roles are all that there are. Another one is a file, and a word here.
func roles() []role { return []role{eventsRole, acksRole, slowRole, functionsRole} }

// taskTypes are those of some roles.
func taskTypes(roles []role) (types []*taskType) {
	for _, r := range roles {
		types = append(types, r.tasks...)
	}
	return types
}

// allRoles in the place of a role's name stands for each.
const allRoles = "all"

// chosen are the roles of these names, in the order of roles. Empty names, as a trailing
// comma makes them, are skipped. The error is a settings.Invalid.
func chosen(names []string) (some []role, err error) {
	if len(names) == 0 {
		names = []string{allRoles}
	}
	wanted := make(map[string]bool)
	for _, name := range names {
		if name = strings.TrimSpace(name); name != "" {
			wanted[name] = true
		}
	}
	var known []string
	for _, r := range roles() {
		known = append(known, r.name)
		if wanted[r.name] || wanted[allRoles] {
			some = append(some, r)
		}
		delete(wanted, r.name)
	}
	delete(wanted, allRoles)
	if len(some) == 0 || len(wanted) > 0 {
		return nil, settings.Invalid{
			Name: "SLUICE_ROLES", Value: strings.Join(names, ","), Allowed: allowedRoles(known),
		}
	}
	return some, nil
}

func allowedRoles(names []string) string {
	return allRoles + ", or some of " + strings.Join(names, ", ") + ", separated by commas"
}

// Validate says whether the roles are known.
func (c *Config) Validate() error {
	roles, err := chosen(c.Roles)
	if len(roles) == 1 && roles[0].name == functionsRole.name && !c.Functions.Enabled() {
		err = errors.New("SLUICE_ROLES is functions alone, and SLUICE_FUNCTIONS names none: there is nothing to do")
	}
	return errors.Join(err, c.Functions.Validate())
}
