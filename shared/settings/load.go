package settings

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
)

// Load fills cfg, a pointer to a struct, from environ, or from the process's
// environment if environ is nil. Fields look like this:
//
//	Partitions int `env:"SLUICE_PARTITIONS" envDefault:"16" min:"1" max:"1024" help:"Into how many partitions targets are divided."`
//
// bounds.go lists the tags that say what is allowed. secret:"true" is never
// shown, secret:"url" without its password. Structs inside, embedded or not,
// are filled too; pointers to structs are not. A variable that is set to ""
// counts as not set. A field that is not zero before Load has that value as its
// default, in place of envDefault: so a program can embed another's settings
// and choose its own defaults.
//
// Then every struct that has a method Validate() error is asked, inner ones
// first, for what tags cannot say: what settings must be together. Validate
// returns an Invalid, or several errors with errors.Join.
//
// The error is one sentence for each mistake, a line each, which names the
// variable, its value and what is allowed; nothing secret is in it.
func Load(cfg any, environ map[string]string) error {
	v, err := structOf(cfg)
	if err != nil {
		return err
	}
	environ = Environ(environ)
	return check(v, environ, func(s setting) error { return s.load(environ) })
}

// Check is what Load does after it has filled cfg, for a struct that a program has filled.
func Check(cfg any) error {
	v, err := structOf(cfg)
	if err != nil {
		return err
	}
	return check(v, nil, func(s setting) error {
		if !s.fits() {
			return s.invalid(s.text(), "")
		}
		return nil
	})
}

func structOf(cfg any) (reflect.Value, error) {
	v := reflect.ValueOf(cfg)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return v, fmt.Errorf("settings must be a pointer to a struct, not %T", cfg)
	}
	return v.Elem(), nil
}

// Environ is environ, or the process's environment if that is nil, without what is set to "".
func Environ(environ map[string]string) map[string]string {
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

// Unknown lists the variables of environ, in order, whose names begin with prefix and that are none of cfg.
func Unknown(cfg any, environ map[string]string, prefix string) []string {
	environ = Environ(environ)
	for _, s := range all(cfg) {
		delete(environ, s.name)
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(environ)), func(name string) bool { return !strings.HasPrefix(name, prefix) })
}

// check does one for each setting and then asks the Validate methods.
func check(v reflect.Value, environ map[string]string, one func(setting) error) error {
	var mistakes []error
	var wrong []string
	walk(v, func(s setting) {
		if err := one(s); err != nil {
			mistakes = append(mistakes, err)
			wrong = append(wrong, regexp.QuoteMeta(s.name))
		}
	}, nil)
	// What settings must be together cannot be told while one of them is wrong: nobody knows what it should be.
	about := regexp.MustCompile(`\b(` + strings.Join(wrong, "|") + `)\b`)
	for _, err := range validate(v, environ) {
		if len(wrong) == 0 || !about.MatchString(err.Error()) {
			mistakes = append(mistakes, err)
		}
	}
	return joinOnce(mistakes)
}

// load sets the field, or leaves its default there and says what is wrong.
func (s setting) load(environ map[string]string) error {
	raw, set := environ[s.name]
	if !set && !s.value.IsZero() {
		if !s.fits() {
			return s.invalid(s.text(), "")
		}
		return nil
	}
	value, err := s.parse(environ)
	if err == nil {
		parsed := s
		if parsed.value = value; !parsed.fits() {
			err = s.invalid(raw, "")
		}
	}
	if err == nil {
		s.value.Set(value)
	} else if value, failed := s.parse(map[string]string{}); failed == nil && s.value.IsZero() {
		s.value.Set(value)
	}
	return err
}

// parse gives the parser a struct of this one field, so that an error can only
// be about this one: its own errors name Go fields, which are not unique among
// nested structs.
func (s setting) parse(environ map[string]string) (reflect.Value, error) {
	raw, set := environ[s.name]
	one := reflect.New(reflect.StructOf([]reflect.StructField{
		{Name: s.field.Name, Type: s.field.Type, Tag: s.field.Tag},
	}))
	value := one.Elem().Field(0)
	err := env.ParseWithOptions(one.Interface(), env.Options{Environment: environ})
	if err == nil {
		return value, nil
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
		return value, s.invalid("", "")
	case errors.As(err, &noContent):
		return value, s.invalid(raw, "the name of a file that this process can read")
	case errors.As(err, &bad):
		if !set {
			raw = s.field.Tag.Get("envDefault")
		}
		return value, s.invalid(raw, "")
	default: // a mistake in the struct, not in the environment
		return value, fmt.Errorf("the setting %s (field %s) cannot be read: %w", s.name, s.field.Name, err)
	}
}

// invalid is the setting's Invalid with its value made fit to be shown, and
// what its tags allow when allowed is empty.
func (s setting) invalid(value, allowed string) Invalid {
	if allowed == "" {
		allowed = s.allowed()
	}
	return Invalid{Name: s.name, Value: s.shown(value), Allowed: allowed}
}

func validate(v reflect.Value, environ map[string]string) []error {
	cfg := v.Addr().Interface()
	var mistakes []error
	walk(v, func(setting) {}, func(v reflect.Value) {
		if !v.CanInterface() { // embedded and not exported: its methods are promoted
			return
		}
		if c, ok := v.Addr().Interface().(interface{ Validate() error }); ok {
			for _, err := range unjoin(c.Validate()) {
				mistakes = append(mistakes, Presentable(err, cfg, environ))
			}
		}
	})
	return mistakes
}

// Presentable is err as it may be shown: an Invalid that is in it, made whole, or its text; without what is secret.
func Presentable(err error, cfg any, environ map[string]string) error {
	list := all(cfg)
	var i Invalid
	if !errors.As(err, &i) {
		return errors.New(scrub(err, list, environ))
	}
	for _, s := range list {
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
	return errors.New(scrub(i, list, environ))
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
