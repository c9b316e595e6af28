# The directives of client authentication: what nginx -t refuses.

use lib 't/lib';
use Token tests => 242;
use Token::Util qw(work_dir spew);

our $Dir = my $dir = work_dir();

# name => how openssl makes the key
our %Keys = (
    rsa => 'genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048',
    small => 'genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024',
    pss => 'genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048',
    pss512 => 'genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048'
        . ' -pkeyopt rsa_pss_keygen_md:sha512',
    p256 => 'genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256',
    p384 => 'genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384',
    p521 => 'genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521',
    k256 => 'genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1',
    ed25519 => 'genpkey -algorithm ED25519',
    ed448 => 'genpkey -algorithm ED448',
    x25519 => 'genpkey -algorithm X25519',
    locked => 'genpkey -algorithm ED25519 -aes256 -pass pass:of-the-key',
);

for my $name (sort keys %Keys) {
    my $output = `openssl $Keys{$name} -out $dir/$name.key 2>&1`;

    die "$name: $output\n" if $?;
    chmod 0600, "$dir/$name.key";
}

`openssl pkey -in $dir/p256.key -pubout -out $dir/public.key`;
`openssl pkey -in $dir/p256.key -outform DER -out $dir/der.key`;
`openssl ec -in $dir/p256.key -out $dir/sec1.key 2>&1`;
`openssl rsa -in $dir/rsa.key -traditional -out $dir/pkcs1.key 2>&1`;
spew("$dir/empty.key", '');
spew("$dir/text.key", "no key\n");
mkdir "$dir/directory.key";
chmod 0644, "$dir/pkcs1.key";

# --- directives   lines of the token location
# --- refused      nginx does not start, and says this with the file and line
# --- accepted     nginx starts, and the endpoint is called
add_block_preprocessor(sub {
    my ($block) = @_;
    my $lines = $block->directives // return;

    $lines =~ s{(token_proxy_private_key\s+)(\w+)}{$1$dir/$2.key}g;
    $lines = "token_proxy_endpoint  \$TEST_NGINX_ENDPOINT/ok;\n$lines"
        if $lines !~ /token_proxy_endpoint/;

    $block->set_value(config => <<"END");
        location = /token {
            token_proxy           on;
            $lines
        }
END

    if (defined(my $refused = $block->refused)) {
        chomp $refused unless ref $refused;
        $block->set_value(must_die => '');
        $block->set_value(suppress_stderr => '');
        $block->set_value(error_log => ['[emerg]', $refused]);
    } else {
        $block->set_value(request => 'GET /token');
        $block->set_value(endpoint_calls => 1);
    }
});

run_tests();

__DATA__

=== TEST 1: an unknown method
--- directives
token_proxy_auth_method  client_secret_magic;
--- refused
unknown method "client_secret_magic" in "token_proxy_auth_method" in



=== TEST 2: the directive twice
--- directives
token_proxy_auth_method  none;
token_proxy_auth_method  none;
--- refused
"token_proxy_auth_method" directive is duplicate in



=== TEST 3: an unknown parameter
--- directives
token_proxy_auth_method  client_secret_jwt hash=HS256;
--- refused
invalid parameter "hash=HS256" in "token_proxy_auth_method" in



=== TEST 4: an unknown encoding
--- directives
token_proxy_auth_method  client_secret_basic encoding=base64;
--- refused
invalid parameter "encoding=base64" in "token_proxy_auth_method" in



=== TEST 5: an encoding of a method without one
--- directives
token_proxy_auth_method  client_secret_post encoding=form;
--- refused
"token_proxy_auth_method" has an encoding with "client_secret_basic" only in



=== TEST 6: an algorithm of a method without one
--- directives
token_proxy_auth_method  client_secret_basic alg=HS256;
--- refused
"token_proxy_auth_method" has an algorithm with "client_secret_jwt" and "private_key_jwt" only in



=== TEST 7: an unknown algorithm
--- directives
token_proxy_auth_method  client_secret_jwt alg=HS1;
--- refused
unknown algorithm "HS1" of this method in "token_proxy_auth_method" in



=== TEST 8: no algorithm
--- directives
token_proxy_auth_method  client_secret_jwt alg=;
--- refused
unknown algorithm "" of this method in "token_proxy_auth_method" in



=== TEST 9: "none" is no algorithm
--- directives
token_proxy_auth_method  private_key_jwt alg=none;
token_proxy_private_key  p256;
--- refused
unknown algorithm "none" of this method in "token_proxy_auth_method" in



=== TEST 10: an algorithm of the other method
--- directives
token_proxy_auth_method  private_key_jwt alg=HS256;
token_proxy_private_key  p256;
--- refused
unknown algorithm "HS256" of this method in "token_proxy_auth_method" in



=== TEST 11: the part of an algorithm's name
--- directives
token_proxy_auth_method  private_key_jwt alg=ES;
token_proxy_private_key  p256;
--- refused
unknown algorithm "ES" of this method in "token_proxy_auth_method" in



=== TEST 12: no key
--- directives
token_proxy_auth_method  private_key_jwt;
--- refused eval
qr/"token_proxy_auth_method private_key_jwt" needs "token_proxy_private_key" in \S+:\d+/



=== TEST 13: a file that is not there
--- directives
token_proxy_auth_method  private_key_jwt;
token_proxy_private_key  nowhere;
--- refused eval
qr/open\(\) ".*nowhere.key" of "token_proxy_private_key" failed \(2: No such file or directory\) in \S+:\d+/



=== TEST 14: no file
--- directives
token_proxy_private_key  "";
--- refused
"token_proxy_private_key" directive needs the path of a file in



=== TEST 15: a directory
--- directives
token_proxy_private_key  directory;
--- refused eval
qr/directory.key" of "token_proxy_private_key" is not a file in \S+:\d+/



=== TEST 16: an empty file
--- directives
token_proxy_private_key  empty;
--- refused eval
qr/empty.key" of "token_proxy_private_key" is not a PEM file with a private key that needs no password in \S+:\d+/



=== TEST 17: a file without a key
--- directives
token_proxy_private_key  text;
--- refused eval
qr/text.key" of "token_proxy_private_key" is not a PEM file with a private key/



=== TEST 18: a public key
--- directives
token_proxy_private_key  public;
--- refused eval
qr/public.key" of "token_proxy_private_key" is not a PEM file with a private key/



=== TEST 19: a key in DER
--- directives
token_proxy_private_key  der;
--- refused eval
qr/der.key" of "token_proxy_private_key" is not a PEM file with a private key/



=== TEST 20: a key with a password, which nobody is asked for
--- directives
token_proxy_private_key  locked;
--- refused eval
qr/locked.key" of "token_proxy_private_key" is not a PEM file with a private key that needs no password in \S+:\d+/



=== TEST 21: the key twice
--- directives
token_proxy_private_key  p256;
token_proxy_private_key  p256;
--- refused
"token_proxy_private_key" directive is duplicate in



=== TEST 22: an EC key for RS256
--- directives
token_proxy_auth_method  private_key_jwt alg=RS256;
token_proxy_private_key  p256;
--- refused eval
qr/key ".*p256.key" of "token_proxy_private_key" does not fit algorithm RS256 of "token_proxy_auth_method private_key_jwt" in \S+nginx.conf:\d+/



=== TEST 23: an RSA key for ES256
--- directives
token_proxy_auth_method  private_key_jwt alg=ES256;
token_proxy_private_key  rsa;
--- refused
does not fit algorithm ES256



=== TEST 24: another curve for ES256
--- directives
token_proxy_auth_method  private_key_jwt alg=ES256;
token_proxy_private_key  p384;
--- refused
does not fit algorithm ES256



=== TEST 25: another curve of the same size for ES256
--- directives
token_proxy_auth_method  private_key_jwt;
token_proxy_private_key  k256;
--- refused
does not fit any algorithm of



=== TEST 26: an EC key for EdDSA
--- directives
token_proxy_auth_method  private_key_jwt alg=EdDSA;
token_proxy_private_key  p256;
--- refused
does not fit algorithm EdDSA



=== TEST 27: an RSA key that is too small (RFC 7518 3.3)
--- directives
token_proxy_auth_method  private_key_jwt alg=RS256;
token_proxy_private_key  small;
--- refused
does not fit algorithm RS256



=== TEST 28: an RSA key for PSS alone
--- directives
token_proxy_auth_method  private_key_jwt alg=RS256;
token_proxy_private_key  pss;
--- refused
does not fit algorithm RS256



=== TEST 29: an RSA key for PSS with another hash
--- directives
token_proxy_auth_method  private_key_jwt alg=PS256;
token_proxy_private_key  pss512;
--- refused
does not fit algorithm PS256



=== TEST 30: keys without an algorithm
--- directives
token_proxy_auth_method  private_key_jwt;
token_proxy_private_key  x25519;
--- refused
does not fit any algorithm of



=== TEST 31: a curve without an algorithm
--- directives
token_proxy_auth_method  private_key_jwt;
token_proxy_private_key  p521;
--- refused
does not fit any algorithm of



=== TEST 32: the line of a key that does not fit is the key's own
--- http_config eval
"\n\n  token_proxy_private_key  $::Dir/p256.key;\n"
--- directives
token_proxy_auth_method  private_key_jwt alg=RS256;
--- refused eval
qr/p256.key" of .* in \S+nginx.conf:\d\d$/m



=== TEST 33: an empty key id
--- directives
token_proxy_key_id  "";
--- refused
the value of "token_proxy_key_id" is empty in



=== TEST 34: a key id with a newline
--- directives
token_proxy_key_id  "a
b";
--- refused
the value of "token_proxy_key_id" contains a newline in



=== TEST 35: the key id twice
--- directives
token_proxy_key_id  a;
token_proxy_key_id  b;
--- refused
"token_proxy_key_id" directive is duplicate in



=== TEST 36: an empty audience
--- directives
token_proxy_assertion_audience  "";
--- refused
the value of "token_proxy_assertion_audience" is empty in



=== TEST 37: an audience outside of ASCII
--- directives
token_proxy_assertion_audience  https://müller.example;
--- refused
the value of "token_proxy_assertion_audience" contains a character outside 0x20 to 0x7E



=== TEST 38: the audience twice
--- directives
token_proxy_assertion_audience  a;
token_proxy_assertion_audience  b;
--- refused
"token_proxy_assertion_audience" directive is duplicate in



=== TEST 39: client_secret_jwt needs a secret
--- no_credentials
--- directives
token_proxy_auth_method  client_secret_jwt;
token_proxy_client_id    my-key;
--- refused
environment variable "CONSUMER_SECRET" of "token_proxy_client_secret" is not set: a command



=== TEST 40: private_key_jwt needs no secret
--- no_credentials
--- directives
token_proxy_auth_method  private_key_jwt;
token_proxy_private_key  p256;
token_proxy_client_id    my-key;



=== TEST 41: none needs no secret
--- no_credentials
--- directives
token_proxy_auth_method  none;
token_proxy_client_id    my-key;



=== TEST 42: a short secret is worth a warning
--- directives
token_proxy_auth_method  client_secret_jwt alg=HS512;
--- error_log
the client secret is shorter than the 64 bytes that RFC 7518 wants for HS512 in



=== TEST 43: a key file that everybody can read is worth a warning
--- directives
token_proxy_auth_method  private_key_jwt;
token_proxy_private_key  pkcs1;
--- error_log
pkcs1.key" of "token_proxy_private_key" can be read by every user



=== TEST 44: an EC key as "openssl ec" writes it
--- directives
token_proxy_auth_method  private_key_jwt alg=ES256;
token_proxy_private_key  sec1;



=== TEST 45: an RSA key for PSS alone with PS256
--- directives
token_proxy_auth_method  private_key_jwt;
token_proxy_private_key  pss;



=== TEST 46: Ed448
--- directives
token_proxy_auth_method  private_key_jwt alg=EdDSA;
token_proxy_private_key  ed448;



=== TEST 47: the key of an outer level
--- http_config eval
"token_proxy_private_key $::Dir/p384.key; token_proxy_key_id of-http;
token_proxy_auth_method private_key_jwt alg=ES384;"
--- directives
token_proxy_key_id  of-the-location;



=== TEST 48: an algorithm of an outer level is that of its method
--- http_config
token_proxy_auth_method  client_secret_jwt alg=HS512;
--- directives
token_proxy_auth_method  private_key_jwt;
token_proxy_private_key  ed25519;



=== TEST 49: a certificate for the endpoint that is not there
--- directives
token_proxy_endpoint           https://localhost/token;
token_proxy_auth_method        none;
proxy_ssl_certificate          nowhere.crt;
proxy_ssl_certificate_key      nowhere.key;
--- refused
cannot load certificate



=== TEST 50: an endpoint that repeats the assertion in its error, or a part of it
--- http_config
    map $http_x_part:$http_x_body $repeated {
        "~^all:.*client_assertion=(?<all>.*)$"             $all;
        "~^claims:.*client_assertion=[\w-]+\.(?<c>[\w-]+)" $c;
        "~^signature:.*\.(?<s>[\w-]+)$"                    $s;
        default                                            nothing;
    }

    server {
        listen      127.0.0.1:$TEST_NGINX_RAND_PORT_1;
        error_log   logs/endpoint.log info;
        access_log  off;

        location ~ ^/(?<part>\w+)$ {
            proxy_set_header  X-Part  $part;
            proxy_set_header  X-Body  $request_body;
            proxy_pass        http://127.0.0.1:$TEST_NGINX_RAND_PORT_2;
        }
    }

    server {
        listen      127.0.0.1:$TEST_NGINX_RAND_PORT_2;
        error_log   logs/endpoint.log info;
        access_log  off;

        return  401 '{"error":"invalid_client","error_description":"<$repeated>"}';
    }
--- config
    location ~ ^/(\w+)$ {
        token_proxy              on;
        token_proxy_endpoint     http://127.0.0.1:$TEST_NGINX_RAND_PORT_1/$1;
        token_proxy_auth_method  client_secret_jwt;
    }
--- request eval: ['GET /all', 'GET /claims', 'GET /signature', 'GET /none']
--- error_code eval: [502, 502, 502, 502]
--- error_log eval
qr/\/(?:(?:all|claims|signature)" answered 401, error: invalid_client, description: \(not shown\)|none" answered 401, error: invalid_client, description: <nothing>)/
--- no_error_log
eyJ
