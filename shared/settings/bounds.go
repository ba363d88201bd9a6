package settings

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The tags that say what is allowed:
//
//	min, max  the least and the largest number or duration; max of a text: its length in characters
//	or        one value more that is allowed, such as 0 for "never"
//	oneof     the allowed values, separated by commas
//	chars     the characters of a text, separated by spaces: single ones, and ranges such as a-z
//	without   characters that a text does not have; "space" is any white space
//	form      "host:port" is an address to listen on
//	allow     words in place of those that follow from the others, where only code can check

var durationType = reflect.TypeFor[time.Duration]()

// fits says whether the value is one that the tags allow. A text that is empty
// counts as not set, which only the env tag's option "required" refuses.
func (s setting) fits() bool {
	tag, text := s.field.Tag, s.text()
	if or, ok := tag.Lookup("or"); ok && s.number(s.value) == s.bound(or) {
		return true
	}
	if list, ok := tag.Lookup("oneof"); ok && !s.among(text, strings.Split(list, ",")) {
		return false
	}
	if s.value.Kind() == reflect.String {
		return text == "" || s.textFits(text)
	}
	least, largest := tag.Get("min"), tag.Get("max")
	return (least == "" || s.number(s.value) >= s.bound(least)) && (largest == "" || s.number(s.value) <= s.bound(largest))
}

// among compares types that read their own text, such as slog.Level, as they do: without regard to case.
func (s setting) among(text string, list []string) bool {
	if s.value.Kind() == reflect.String {
		return text == "" || slices.Contains(list, text)
	}
	return slices.ContainsFunc(list, func(one string) bool { return strings.EqualFold(one, text) })
}

func (s setting) textFits(text string) bool {
	tag := s.field.Tag
	if largest, ok := tag.Lookup("max"); ok && int64(utf8.RuneCountInString(text)) > s.bound(largest) {
		return false
	}
	chars, without := strings.Fields(tag.Get("chars")), strings.Fields(tag.Get("without"))
	for _, r := range text {
		if len(chars) > 0 && !contains(chars, r) || contains(without, r) {
			return false
		}
	}
	return tag.Get("form") != "host:port" || isHostPort(text)
}

// contains looks for r in a list of characters and of ranges.
func contains(list []string, r rune) bool {
	return slices.ContainsFunc(list, func(one string) bool {
		c := []rune(one)
		return len(c) == 1 && c[0] == r || len(c) == 3 && c[1] == '-' && c[0] <= r && r <= c[2] || one == "space" && unicode.IsSpace(r)
	})
}

func isHostPort(s string) bool {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	_, err = net.DefaultResolver.LookupPort(context.Background(), "tcp", port) // as net.Listen does
	return err == nil
}

// number is a whole number or a duration in nanoseconds.
func (s setting) number(v reflect.Value) int64 {
	if !v.CanInt() {
		panic(fmt.Sprintf("the setting %s is of type %s, which has no bounds", s.name, v.Type()))
	}
	return v.Int()
}

// bound reads a tag as the variable itself would be read.
func (s setting) bound(text string) int64 {
	var n int64
	var err error
	if s.field.Type == durationType {
		var d time.Duration
		d, err = time.ParseDuration(text)
		n = int64(d)
	} else {
		n, err = strconv.ParseInt(text, 10, 64)
	}
	if err != nil {
		panic(fmt.Sprintf("a tag of the setting %s is malformed: %v", s.name, err))
	}
	return n
}

// allowed is what the tags allow, in words that follow "want".
func (s setting) allowed() string {
	tag := s.field.Tag
	if words := tag.Get("allow"); words != "" {
		return words
	}
	if list := strings.Split(tag.Get("oneof"), ","); list[0] != "" {
		last := len(list) - 1
		return strings.TrimPrefix(strings.Join(list[:last], ", ")+" or ", " or ") + list[last]
	}
	words := ""
	switch k := s.field.Type.Kind(); {
	case tag.Get("form") == "host:port":
		return "host:port, for example 127.0.0.1:8080, or :8080 for all addresses of this machine"
	case k == reflect.String:
		return textAllowed(tag)
	case s.field.Type == durationType:
		words = "a duration with its unit (ms, s, m or h)" + span(tag)
	case k == reflect.Bool:
		return "true or false"
	case k >= reflect.Int && k <= reflect.Int64:
		words = "a whole number" + span(tag)
	case s.field.Type == reflect.TypeFor[url.URL](), s.field.Type == reflect.TypeFor[*url.URL]():
		return "a URL"
	default:
		return "a value as -h describes it"
	}
	if or, ok := tag.Lookup("or"); ok {
		return or + ", or " + words
	}
	return words
}

func span(tag reflect.StructTag) string {
	least, largest := tag.Get("min"), tag.Get("max")
	switch {
	case least != "" && largest != "":
		return " from " + least + " to " + largest
	case least != "":
		return ", at least " + least
	case largest != "":
		return ", at most " + largest
	}
	return ""
}

func textAllowed(tag reflect.StructTag) string {
	words := "any text"
	if largest := tag.Get("max"); largest != "" {
		words = "up to " + largest + " characters"
	}
	if chars := tag.Get("chars"); chars != "" {
		words += " of " + chars
	}
	if without := tag.Get("without"); without != "" {
		words += ", none of them " + strings.Join(strings.Fields(without), " or ")
	}
	return words
}
