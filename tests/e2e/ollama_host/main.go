// SPDX-License-Identifier: MIT

// Has Ollama's own ggml load its backends, as Ollama does before its first model. Ollama itself takes an hour of a core to compile.
package main

import (
	"fmt"

	ggml "github.com/ollama/ollama/ml/backend/ggml/ggml/src"
)

func main() {
	ggml.OnceLoad()
	fmt.Println("went on")
}
