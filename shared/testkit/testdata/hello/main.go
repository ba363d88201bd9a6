// Command hello is built by a test.
package main

func main() { println("hello") }
