// Requests of Go's net/http, for clients.t, which says what the lines mean.
//
//	go run client.go CA-FILE < requests
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	form    = "application/x-www-form-urlencoded"
	pause   = 50 * time.Millisecond
	timeout = 10 * time.Second
)

// parts is the body in two parts, the first of them late.
func parts(body []byte) io.Reader {
	reader, writer := io.Pipe()

	go func() {
		time.Sleep(pause)
		writer.Write(body[:len(body)/2])
		time.Sleep(pause)
		writer.Write(body[len(body)/2:])
		writer.Close()
	}()

	return reader
}

func request(shape, url, text string) (*http.Request, error) {
	if shape == "get" {
		return http.NewRequest("GET", url, nil)
	}

	if shape == "empty" {
		return http.NewRequest("POST", url, nil)
	}

	body := []byte(text)

	if shape == "large" {
		size, err := strconv.Atoi(text)
		if err != nil {
			return nil, err
		}
		body = bytes.Repeat([]byte("x"), size)
	}

	var reader io.Reader = bytes.NewReader(body)
	if shape == "late" || shape == "chunked" {
		reader = parts(body)
	}

	made, err := http.NewRequest("POST", url, reader)
	if err != nil {
		return nil, err
	}

	made.Header.Set("Content-Type", "text/plain")
	if strings.HasPrefix(text, "grant_type=") {
		made.Header.Set("Content-Type", form)
	}

	switch shape {
	case "late":
		made.ContentLength = int64(len(body))
	case "expect":
		made.Header.Set("Expect", "100-continue")
	}

	return made, nil
}

func ask(client *http.Client, shape, url, text string) (string, error) {
	made, err := request(shape, url, text)
	if err != nil {
		return "", err
	}

	answer, err := client.Do(made)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()

	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return "", err
	}

	return fmt.Sprintf("%d\t%s\t%s", answer.StatusCode,
		answer.Header.Get("X-Requests"),
		strings.Join(strings.Fields(string(body)), " ")), nil
}

func main() {
	pem, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}

	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)

	client := &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			TLSClientConfig:       &tls.Config{RootCAs: roots},
			ForceAttemptHTTP2:     true,
			ExpectContinueTimeout: time.Second,
		},
	}
	lines := bufio.NewScanner(os.Stdin)

	for lines.Scan() {
		part := append(strings.Split(lines.Text(), "\t"), "")
		got, err := ask(client, part[1], part[2], part[3])

		if err != nil {
			got = "failed\t0\t" + err.Error()
		}

		fmt.Printf("%s\t%s\n", part[0], got)
	}
}
