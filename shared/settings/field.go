package settings

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
)

// setting is one field of a struct of settings that has an env tag.
type setting struct {
	name     string // of the environment variable
	required bool   // env tag option "required" or "notEmpty"
	help     string
	secret   secrecy
	field    reflect.StructField
	value    reflect.Value // the field itself; settable when the struct was given by pointer
}

type secrecy string

const (
	public    secrecy = ""
	secretAll secrecy = "true" // nothing of the value is shown
	secretURL secrecy = "url"  // a URL, or several; shown without what is secret in it
)

// walk calls leaf for each setting of the struct v, and after that done for v;
// nested structs come before the struct that holds them. done may be nil.
func walk(v reflect.Value, leaf func(setting), done func(reflect.Value)) {
	for i := range v.NumField() {
		sf, fv := v.Type().Field(i), v.Field(i)
		tag, tagged := sf.Tag.Lookup("env")
		switch {
		case tagged && sf.IsExported():
			leaf(newSetting(tag, sf, fv))
		case fv.Kind() == reflect.Struct && (sf.IsExported() || sf.Anonymous):
			walk(fv, leaf, done)
		}
	}
	if done != nil {
		done(v)
	}
}

func newSetting(tag string, sf reflect.StructField, v reflect.Value) setting {
	name, options, _ := strings.Cut(tag, ",")
	s := setting{
		name: name, field: sf, value: v,
		required: strings.Contains(options, "required") || strings.Contains(options, "notEmpty"),
		help:     sf.Tag.Get("help"),
		secret:   secrecy(sf.Tag.Get("secret")),
	}
	if s.secret != public && s.secret != secretURL {
		s.secret = secretAll // a misspelt tag must not show a secret
	}
	return s
}

// all lists each variable of cfg (a struct or a pointer to one) once, in
// the order of its fields. Two structs in one process may share a variable;
// the first one's tags stand for both.
func all(cfg any) []setting {
	v := reflect.Indirect(reflect.ValueOf(cfg))
	if v.Kind() != reflect.Struct {
		return nil
	}
	if !v.CanAddr() { // so that methods with pointer receivers can be called
		addressable := reflect.New(v.Type()).Elem()
		addressable.Set(v)
		v = addressable
	}
	var list []setting
	seen := map[string]bool{}
	walk(v, func(s setting) {
		if !seen[s.name] {
			seen[s.name] = true
			list = append(list, s)
		}
	}, nil)
	return list
}

// Find is the struct of type T in cfg, or the zero T if there is none.
func Find[T any](cfg any) (found T) {
	v := reflect.Indirect(reflect.ValueOf(cfg))
	if v.Kind() != reflect.Struct {
		return found
	}
	walk(v, func(setting) {}, func(v reflect.Value) {
		if c, ok := v.Interface().(T); ok {
			found = c
		}
	})
	return found
}

// text is the field's value as it would be written into its variable.
func (s setting) text() string { return textOf(s.value) }

func textOf(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		return textOf(v.Elem())
	}
	if v.CanAddr() {
		switch t := v.Addr().Interface().(type) {
		case encoding.TextMarshaler:
			if b, err := t.MarshalText(); err == nil {
				return string(b)
			}
		case fmt.Stringer:
			return t.String()
		}
	}
	if v.Kind() == reflect.Slice {
		items := make([]string, v.Len())
		for i := range items {
			items[i] = textOf(v.Index(i))
		}
		return strings.Join(items, ",")
	}
	return fmt.Sprint(v.Interface())
}
