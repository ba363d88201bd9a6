package settings

import "fmt"

// Invalid says that a setting's value is not allowed. Validate methods return
// it; Name alone is enough: Load fills in the Value that was set and what the
// field's tags allow where they are empty, and hides secrets.
type Invalid struct {
	Name    string // of the variable
	Value   string
	Allowed string // in words that follow "want"
}

// Error is the sentence for whoever started the process.
func (i Invalid) Error() string {
	switch i.Value {
	case "":
		return fmt.Sprintf("%s is not set: want %s", i.Name, i.Allowed)
	case hidden:
		return fmt.Sprintf("%s=%s is not allowed: want %s", i.Name, hidden, i.Allowed)
	}
	value := i.Value
	if len(value) > longestShown {
		value = value[:longestShown] + "..."
	}
	return fmt.Sprintf("%s=%q is not allowed: want %s", i.Name, value, i.Allowed)
}
