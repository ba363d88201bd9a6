package ops

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"time"

	"github.com/caarlos0/env/v11"
)

// Load fills cfg, a pointer to a struct, from environ, or from the process's
// environment if environ is nil. Fields look like this:
//
//	Partitions int `env:"SLUICE_PARTITIONS" envDefault:"16" help:"into how many partitions targets are divided" allow:"a whole number from 1 to 1024"`
//
// and may also have secret:"true" (never shown) or secret:"url" (shown without
// its password). Structs inside, embedded or not, are filled too; pointers to
// structs are not. A variable that is set to "" counts as not set. A field that
// is not zero before Load has that value as its default, in place of
// envDefault: so a program can embed another's settings and choose its own
// defaults.
//
// Then every struct that has a method Validate() error is asked, inner ones
// first. Validate returns an Invalid, or several with errors.Join.
//
// The error is one sentence for each mistake, a line each, which names the
// variable, its value and what is allowed; nothing secret is in it.
func Load(cfg any, environ map[string]string) error {
	v := reflect.ValueOf(cfg)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("ops.Load wants a pointer to a struct, not %T", cfg)
	}
	environ = withoutEmpty(environ)

	var mistakes []error
	walk(v.Elem(), func(s setting) {
		if err := s.load(environ); err != nil {
			mistakes = append(mistakes, err)
		}
	}, nil)
	if len(mistakes) == 0 {
		mistakes = validate(v.Elem(), environ)
	}
	return joinOnce(mistakes)
}

func withoutEmpty(environ map[string]string) map[string]string {
	if environ == nil {
		environ = env.ToMap(os.Environ())
	}
	set := make(map[string]string, len(environ))
	for name, value := range environ {
		if value != "" {
			set[name] = value
		}
	}
	return set
}

// load gives the parser a struct of this one field, so that an error can only
// be about this one: its own errors name Go fields, which are not unique among
// nested structs.
func (s setting) load(environ map[string]string) error {
	raw, set := environ[s.name]
	if !set && !s.value.IsZero() {
		return nil
	}
	one := reflect.New(reflect.StructOf([]reflect.StructField{
		{Name: s.field.Name, Type: s.field.Type, Tag: s.field.Tag},
	}))
	err := env.ParseWithOptions(one.Interface(), env.Options{Environment: environ})
	if err == nil {
		s.value.Set(one.Elem().Field(0))
		return nil
	}
	// The parser's words hold the value, so they are not shown.
	var (
		bad       env.ParseError
		notSet    env.VarIsNotSetError
		empty     env.EmptyVarError
		noContent env.LoadFileContentError
	)
	switch {
	case errors.As(err, &notSet), errors.As(err, &empty):
		return s.invalid("", "")
	case errors.As(err, &noContent):
		return s.invalid(raw, "the name of a file that this process can read")
	case errors.As(err, &bad):
		if !set {
			raw = s.field.Tag.Get("envDefault")
		}
		return s.invalid(raw, "")
	default: // a mistake in the struct, not in the environment
		return fmt.Errorf("the setting %s (field %s) cannot be read: %w", s.name, s.field.Name, err)
	}
}

// invalid is the setting's Invalid with its value made fit to be shown, and
// what its tags allow when allowed is empty.
func (s setting) invalid(value, allowed string) Invalid {
	if allowed == "" {
		allowed = s.allow
	}
	return Invalid{Name: s.name, Value: s.shown(value), Allowed: allowed}
}

func validate(v reflect.Value, environ map[string]string) []error {
	all := settings(v.Addr().Interface())
	var mistakes []error
	walk(v, func(setting) {}, func(v reflect.Value) {
		if !v.CanInterface() { // embedded and not exported: its methods are promoted
			return
		}
		if c, ok := v.Addr().Interface().(interface{ Validate() error }); ok {
			for _, err := range unjoin(c.Validate()) {
				mistakes = append(mistakes, presentable(err, all, environ))
			}
		}
	})
	return mistakes
}

// presentable hides what is secret in an error of Validate.
func presentable(err error, all []setting, environ map[string]string) error {
	var i Invalid
	if !errors.As(err, &i) {
		return errors.New(scrub(err, all, environ))
	}
	for _, s := range all {
		if s.name != i.Name {
			continue
		}
		if i.Value == "" {
			i.Value = environ[s.name]
			if i.Value == "" && !s.value.IsZero() {
				i.Value = s.text()
			}
		}
		return s.invalid(i.Value, i.Allowed)
	}
	return errors.New(scrub(i, all, environ))
}

// Invalid says that a setting's value is not allowed. Validate methods return
// it; Name alone is enough: Load fills in the Value that was set and the
// Allowed of the field's tags where they are empty, and hides secrets.
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

// allowedByType is for fields without an allow tag.
func allowedByType(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[time.Duration]():
		return "a duration such as 500ms, 25s or 24h"
	case reflect.TypeFor[ByteSize]():
		return "a size such as 65536, 64KiB or 1MiB"
	case reflect.TypeFor[url.URL](), reflect.TypeFor[*url.URL]():
		return "a URL"
	}
	switch k := t.Kind(); {
	case k == reflect.Bool:
		return "true or false"
	case k >= reflect.Int && k <= reflect.Int64:
		return "a whole number"
	case k >= reflect.Uint && k <= reflect.Uint64:
		return "a whole number from 0 up"
	case k == reflect.Float32 || k == reflect.Float64:
		return "a number"
	}
	return "a value as -h describes it"
}

func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// joinOnce leaves out repeats: a Validate that is promoted from an embedded
// struct is asked twice, and two structs may share a variable.
func joinOnce(errs []error) error {
	seen := map[string]bool{}
	var once []error
	for _, err := range errs {
		if !seen[err.Error()] {
			seen[err.Error()] = true
			once = append(once, err)
		}
	}
	if len(once) == 1 {
		return once[0]
	}
	return errors.Join(once...)
}
