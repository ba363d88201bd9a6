package js

import (
	"bytes"
	"compress/gzip"
	"flag"
	"os"
	"testing"

	"github.com/evanw/esbuild/pkg/api"
)

var update = flag.Bool("update", false, "write sluice.min.js")

// minify gives one module of a file and what it imports of ours.
func minify(t *testing.T, file string) []byte {
	t.Helper()
	result := api.Build(api.BuildOptions{
		EntryPoints: []string{file}, External: []string{"react"}, Bundle: true, Format: api.FormatESModule, Target: api.ES2022,
		MinifyWhitespace: true, MinifyIdentifiers: true, MinifySyntax: true, LegalComments: api.LegalCommentsNone,
		MangleProps: "^_", // names that are nobody else's
	})
	for _, m := range result.Errors {
		t.Errorf("%s:%d: %s", m.Location.File, m.Location.Line, m.Text)
	}
	if len(result.OutputFiles) != 1 {
		t.Fatalf("%d files of %s", len(result.OutputFiles), file)
	}
	return result.OutputFiles[0].Contents
}

func zipped(t *testing.T, text []byte) int {
	t.Helper()
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Len()
}

// TestMinified: what gateways serve is made of the sources, and small.
func TestMinified(t *testing.T) {
	made := minify(t, "src/sluice.js")
	if *update {
		if err := os.WriteFile("sluice.min.js", made, 0o644); err != nil { //nolint:gosec // a file of the project
			t.Fatal(err)
		}
	} else if !bytes.Equal(made, Minified) {
		t.Error("sluice.min.js is not made of these sources: run 'go generate ./shared/client/js'")
	}
	for _, c := range []struct {
		name string
		text []byte
		most int // bytes, compressed
	}{
		{"the client", made, 5 << 10},
		{"the hooks", minify(t, "src/react.js"), 700},
	} {
		size := zipped(t, c.text)
		t.Logf("%s: %d bytes, %d compressed", c.name, len(c.text), size)
		if size > c.most {
			t.Errorf("%s is %d bytes compressed, more than %d", c.name, size, c.most)
		}
	}
}
