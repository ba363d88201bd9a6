package binaries_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	docLink  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	docFile  = regexp.MustCompile("`([A-Za-z0-9_./-]+\\.(?:go|lua|sh|yaml))`")
	docTest  = regexp.MustCompile("`(Test[A-Za-z0-9]+)(?:/[^`]*)?`")
	notWords = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// TestDocsNameWhatIsThere: links of the documents lead somewhere, and the files and tests that they name exist.
func TestDocsNameWhatIsThere(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	files, tests := map[string]bool{}, map[string]bool{}
	var docs []string
	declared := regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9]+)\(`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (rel == "bin" || rel == ".git"):
			return filepath.SkipDir
		case d.IsDir():
			return nil
		}
		rel = filepath.ToSlash(rel)
		for part := rel; ; { // a document may leave out the begin of a path
			files[part] = true
			_, after, more := strings.Cut(part, "/")
			if !more {
				break
			}
			part = after
		}
		if strings.HasSuffix(rel, ".md") {
			docs = append(docs, rel)
		}
		if strings.HasSuffix(rel, "_test.go") || strings.Contains(rel, "storetest/") {
			text, err := os.ReadFile(path) //nolint:gosec // of this project
			if err != nil {
				return err
			}
			for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
				tests[m[1]] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(docs) < 5 || len(tests) < 100 {
		t.Fatalf("found %d documents and %d tests", len(docs), len(tests))
	}
	for _, doc := range docs {
		text := read(t, filepath.Join(root, doc))
		for _, m := range docLink.FindAllStringSubmatch(text, -1) {
			path, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(path, "://") {
				continue
			}
			to := doc
			if path != "" {
				to = filepath.ToSlash(filepath.Join(filepath.Dir(doc), path))
			}
			if !files[to] {
				if _, err := os.Stat(filepath.Join(root, to)); err != nil {
					t.Errorf("%s: the link %s leads nowhere", doc, m[1])
					continue
				}
			}
			if anchor != "" && !anchors(read(t, filepath.Join(root, to)))[anchor] {
				t.Errorf("%s: the link %s leads to no heading", doc, m[1])
			}
		}
		for _, m := range docFile.FindAllStringSubmatch(text, -1) {
			if !files[m[1]] {
				t.Errorf("%s: there is no file %s", doc, m[1])
			}
		}
		for _, m := range docTest.FindAllStringSubmatch(text, -1) {
			if !tests[m[1]] {
				t.Errorf("%s: there is no test %s", doc, m[1])
			}
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path) //nolint:gosec // of this project
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// anchors are the names of a document's headings in links.
func anchors(text string) map[string]bool {
	names := map[string]bool{}
	for line := range strings.Lines(text) {
		if heading := strings.TrimLeft(line, "#"); heading != line {
			name := notWords.ReplaceAllString(strings.ToLower(strings.TrimSpace(heading)), "")
			names[strings.ReplaceAll(name, " ", "-")] = true
		}
	}
	return names
}
