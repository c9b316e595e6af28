# https endpoints: who is asked for a token is checked first.

use lib 't/lib';
use Token tests => 124;
use Token::Cert;
use Token::Util qw(work_dir);

my $dir = work_dir();
my $ca = Token::Cert->authority($dir, 'ca');
my $other = Token::Cert->authority($dir, 'other');
my %cert = (
    good => $ca->issue('good', 'idp.example', 'localhost'),
    wrong => $ca->issue('wrong', 'elsewhere.example'),
    other => $other->issue('foreign', 'idp.example', 'localhost'),
    expired => $ca->issue('expired', 'idp.example', 'localhost'),
);

$ENV{TEST_NGINX_CERT_DIR} = $dir;

# In the past from its first day on; openssl x509 takes no dates in 3.0.
system("cd '$dir' && cat ca.crt other.crt > both.pem && : > index.txt && echo 01 > serial && "
    . 'openssl ca -batch -notext -config /dev/stdin -in expired.csr '
    . '-out expired.crt -startdate 20200101000000Z -enddate 20200102000000Z '
    . '-cert ca.crt -keyfile ca.key -extfile expired.ext '
    . "> ca.log 2>&1 << 'END'
[ca]
default_ca = a
[a]
database = $dir/index.txt
serial = $dir/serial
new_certs_dir = $dir
default_md = sha256
policy = p
[p]
commonName = supplied
END
") == 0 or die "openssl ca failed: see $dir/ca.log\n";

$ENV{TEST_NGINX_DEFAULT_CERT} = $cert{other}->file;
$ENV{TEST_NGINX_DEFAULT_KEY} = $cert{other}->key;

our $Token
    = '{"access_token":"the-access-token","refresh_token":"the-refresh-token"}';
our $Unreachable = '{"error":"server_error",'
    . '"error_description":"The token endpoint could not be reached."}';

# Sections of this file:
#
# --- certificate  of the endpoint: good, wrong, other, expired
# --- inside       lines of the token location
# --- host         of the endpoint's URL (idp.example)
#
# The endpoint is a server with that certificate, for which the host stands as
# the name of an upstream block.
add_block_preprocessor(sub {
    my ($block) = @_;
    my $inside = $block->inside // '';
    my $host = $block->host // 'idp.example';

    $block->set_value(request => 'GET /token') unless $block->request;

    if (defined(my $certificate = $block->certificate)) {
        my $use = $cert{$certificate}->file;
        my $key = $cert{$certificate}->key;

        $block->set_value(http_config => <<"END" . ($block->http_config // ''));
    upstream idp.example {
        server  127.0.0.1:\$TEST_NGINX_RAND_PORT_1;
    }

    server {
        listen               127.0.0.1:\$TEST_NGINX_RAND_PORT_1 ssl;
        error_log            logs/endpoint.log info;
        access_log           logs/endpoint_calls.log;
        ssl_certificate      $use;
        ssl_certificate_key  $key;

        location /strict {
            proxy_pass        http://127.0.0.1:\$TEST_NGINX_ANSWER_PORT;
            proxy_set_header  X-Body  \$request_body;
        }

        location /sni {
            default_type  application/json;
            return        200 '{"access_token":"\$ssl_server_name \$http_host \$ssl_protocol"}';
        }
    }
END
        $block->set_value(config => ($block->outer // '') . <<"END")
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  https://$host/strict;
        $inside
    }
END
            unless defined $block->config;
    }
});

run_tests();

__DATA__

=== TEST 1: a certificate of the authority that token_proxy_ssl_trusted_certificate names
--- certificate: good
--- inside: token_proxy_ssl_trusted_certificate $TEST_NGINX_CERT_DIR/ca.crt;
--- response_body eval: $::Token
--- no_error_log
[warn]
[error]
--- endpoint_calls: 1



=== TEST 2: verified by default, against the system's bundle, which does not know it
--- certificate: good
--- error_code: 502
--- response_headers
Content-Type: application/json
Cache-Control: no-store
--- response_body eval: $::Unreachable
--- error_log eval
qr/\[error\].*upstream SSL certificate verify error: \(2[01]:unable to /
--- endpoint_calls: 0



=== TEST 3: a certificate of an unknown authority
--- certificate: other
--- inside: token_proxy_ssl_trusted_certificate $TEST_NGINX_CERT_DIR/ca.crt;
--- error_code: 502
--- response_body eval: $::Unreachable
--- error_log eval
qr/upstream SSL certificate verify error: \(2[01]:unable to /
--- endpoint_calls: 0



=== TEST 4: a certificate of another name
--- certificate: wrong
--- inside: token_proxy_ssl_trusted_certificate $TEST_NGINX_CERT_DIR/ca.crt;
--- error_code: 502
--- response_body eval: $::Unreachable
--- error_log
upstream SSL certificate does not match "idp.example"
--- endpoint_calls: 0



=== TEST 5: an expired certificate
--- certificate: expired
--- inside: token_proxy_ssl_trusted_certificate $TEST_NGINX_CERT_DIR/ca.crt;
--- error_code: 502
--- response_body eval: $::Unreachable
--- error_log
upstream SSL certificate verify error: (10:certificate has expired)
--- endpoint_calls: 0



=== TEST 6: an endpoint that speaks no TLS
--- certificate: good
--- config
    location = /token {
        token_proxy                          on;
        token_proxy_endpoint                 https://localhost:$TEST_NGINX_ENDPOINT_PORT/strict;
        token_proxy_ssl_trusted_certificate  $TEST_NGINX_CERT_DIR/ca.crt;
    }
--- error_code: 502
--- response_body eval: $::Unreachable
--- error_log
SSL_do_handshake() failed



=== TEST 7: no verification: no check, and a warning at start
--- certificate: other
--- inside: token_proxy_ssl_verify off;
--- response_body eval: $::Token
--- endpoint_calls: 1
--- error_log eval
qr/\[warn\].*the certificate of "token_proxy_endpoint" "https:\/\/idp.example\/strict" is not verified, "token_proxy_ssl_verify" is off in \S+nginx.conf:\d+/



=== TEST 8: no verification at http level, and verification in the location
--- http_config
    token_proxy_ssl_verify  off;
--- certificate: other
--- inside: token_proxy_ssl_verify on;
--- error_code: 502
--- endpoint_calls: 0



=== TEST 9: proxy_ssl_verify off does not switch it off
--- certificate: other
--- outer
    proxy_ssl_verify  off;
--- error_code: 502
--- error_log
upstream SSL certificate verify error
--- endpoint_calls: 0



=== TEST 10: proxy_ssl_verify off in the location does not, either
--- certificate: other
--- inside: proxy_ssl_verify off;
--- error_code: 502
--- endpoint_calls: 0



=== TEST 11: proxy_ssl_server_name off does not switch SNI off
--- certificate: good
--- outer
    proxy_ssl_server_name  off;
--- config
    proxy_ssl_server_name  off;

    location = /token {
        token_proxy                          on;
        token_proxy_endpoint                 https://idp.example/sni;
        token_proxy_ssl_trusted_certificate  $TEST_NGINX_CERT_DIR/ca.crt;
    }
--- response_body_like: ^\{"access_token":"idp.example idp.example TLSv1.[23]"\}$



=== TEST 12: SNI and Host of a name with a port
--- certificate: good
--- config
    location = /token {
        token_proxy                          on;
        token_proxy_endpoint                 https://localhost:$TEST_NGINX_RAND_PORT_1/sni;
        token_proxy_ssl_trusted_certificate  $TEST_NGINX_CERT_DIR/ca.crt;
    }
--- response_body_like: ^\{"access_token":"localhost localhost:\d+ TLSv1.[23]"\}$



=== TEST 13: SNI chooses among the certificates of an address
--- certificate: good
--- http_config
    server {
        listen               127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl default_server;
        server_name          _;
        ssl_certificate      $TEST_NGINX_DEFAULT_CERT;
        ssl_certificate_key  $TEST_NGINX_DEFAULT_KEY;
        error_log            logs/endpoint.log info;
    }
    server {
        listen               127.0.0.1:$TEST_NGINX_RAND_PORT_1 ssl;
        server_name          idp.example;
        ssl_certificate      $TEST_NGINX_CERT_DIR/good.crt;
        ssl_certificate_key  $TEST_NGINX_CERT_DIR/good.key;
        error_log            logs/endpoint.log info;

        location / {
            default_type  application/json;
            return        200 '{"access_token":"of the right one"}';
        }
    }
--- inside: token_proxy_ssl_trusted_certificate $TEST_NGINX_CERT_DIR/ca.crt;
--- response_body chomp
{"access_token":"of the right one"}



=== TEST 14: proxy_ssl_name gives the name of the certificate
--- certificate: wrong
--- inside
token_proxy_ssl_trusted_certificate  $TEST_NGINX_CERT_DIR/ca.crt;
        proxy_ssl_name                       elsewhere.example;
--- response_body eval: $::Token



=== TEST 15: an inherited proxy_ssl_trusted_certificate
--- certificate: good
--- outer
    proxy_ssl_trusted_certificate  $TEST_NGINX_CERT_DIR/ca.crt;
--- response_body eval: $::Token



=== TEST 16: token_proxy_ssl_trusted_certificate wins over proxy_ssl_trusted_certificate
--- certificate: good
--- outer
    proxy_ssl_trusted_certificate  $TEST_NGINX_CERT_DIR/other.crt;
--- inside: token_proxy_ssl_trusted_certificate $TEST_NGINX_CERT_DIR/ca.crt;
--- response_body eval: $::Token



=== TEST 17: and the other way about
--- certificate: good
--- outer
    proxy_ssl_trusted_certificate  $TEST_NGINX_CERT_DIR/ca.crt;
--- inside: token_proxy_ssl_trusted_certificate $TEST_NGINX_CERT_DIR/other.crt;
--- error_code: 502
--- endpoint_calls: 0



=== TEST 18: token_proxy_ssl_trusted_certificate of http level
--- http_config
    token_proxy_ssl_trusted_certificate  $TEST_NGINX_CERT_DIR/both.pem;
--- certificate: other
--- response_body eval: $::Token



=== TEST 19: the module's certificates are not those of a proxy_pass beside it
--- certificate: good
--- config
    proxy_ssl_verify               on;
    proxy_ssl_trusted_certificate  $TEST_NGINX_CERT_DIR/other.crt;

    location = /token {
        token_proxy                          on;
        token_proxy_endpoint                 https://idp.example/strict;
        token_proxy_ssl_trusted_certificate  $TEST_NGINX_CERT_DIR/ca.crt;
    }

    location = /page {
        proxy_pass  https://idp.example/strict;
    }
--- request eval: ['GET /page', 'GET /token', 'GET /page']
--- error_code eval: [502, 200, 502]
--- endpoint_calls: 1



=== TEST 20: nor is its TLS session
--- certificate: good
--- config
    location = /token {
        token_proxy                          on;
        token_proxy_endpoint                 https://idp.example/strict;
        token_proxy_ssl_trusted_certificate  $TEST_NGINX_CERT_DIR/other.crt;
    }

    location = /right {
        token_proxy                          on;
        token_proxy_endpoint                 https://idp.example/strict;
        token_proxy_ssl_trusted_certificate  $TEST_NGINX_CERT_DIR/ca.crt;
    }

    location = /page {
        proxy_pass                     https://idp.example/strict;
        proxy_ssl_server_name          on;
        proxy_ssl_verify               on;
        proxy_ssl_trusted_certificate  $TEST_NGINX_CERT_DIR/ca.crt;
    }

    location = /unverified {
        proxy_pass                     https://idp.example/strict;
        proxy_ssl_server_name          on;
    }
--- request eval: ['GET /page', 'GET /token', 'GET /unverified', 'GET /right', 'GET /token']
--- error_code eval: [405, 502, 405, 200, 502]



=== TEST 21: an https endpoint behind a variable is verified as well
--- certificate: wrong
--- config
    location = /token {
        token_proxy                          on;
        token_proxy_endpoint                 https://$arg_host/strict;
        token_proxy_ssl_trusted_certificate  $TEST_NGINX_CERT_DIR/ca.crt;
    }
--- request
GET /token?host=idp.example
--- error_code: 502
--- error_log
upstream SSL certificate does not match "idp.example"
--- endpoint_calls: 0



=== TEST 22: an https endpoint behind a variable that is right
--- certificate: good
--- config
    location = /token {
        token_proxy                          on;
        token_proxy_endpoint                 $arg_url;
        token_proxy_ssl_trusted_certificate  $TEST_NGINX_CERT_DIR/ca.crt;
    }
--- request
GET /token?url=https://idp.example/strict
--- response_body eval: $::Token



=== TEST 23: connections with TLS are kept, too
--- certificate: good
--- http_config
    upstream kept {
        server     127.0.0.1:$TEST_NGINX_RAND_PORT_2;
        keepalive  2;
    }
    server {
        listen               127.0.0.1:$TEST_NGINX_RAND_PORT_2 ssl;
        ssl_certificate      $TEST_NGINX_CERT_DIR/good.crt;
        ssl_certificate_key  $TEST_NGINX_CERT_DIR/good.key;
        error_log            logs/endpoint.log info;

        location / {
            default_type  application/json;
            return        200 '{"access_token":"$connection_requests"}';
        }
    }
--- config
    location = /token {
        proxy_ssl_name                       idp.example;
        token_proxy                          on;
        token_proxy_endpoint                 https://kept/token;
        token_proxy_ssl_trusted_certificate  $TEST_NGINX_CERT_DIR/ca.crt;
    }
--- request eval: ['GET /token', 'GET /token']
--- response_body eval: ['{"access_token":"1"}', '{"access_token":"2"}']



=== TEST 24: an endpoint by its address cannot be verified
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  https://127.0.0.1:8443/token;
    }
--- must_die
--- error_log eval
qr/\[emerg\].*"token_proxy_endpoint" "https:\/\/127.0.0.1:8443\/token" has no host name to verify its certificate by.* in \S+nginx.conf:\d+/



=== TEST 25: by an IPv6 address, neither
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  https://[::1]/token;
    }
--- must_die
--- error_log
has no host name to verify its certificate by



=== TEST 26: with a name for it, it can
--- certificate: good
--- config
    location = /token {
        proxy_ssl_name                       idp.example;
        token_proxy                          on;
        token_proxy_endpoint                 https://127.0.0.1:$TEST_NGINX_RAND_PORT_1/strict;
        token_proxy_ssl_trusted_certificate  $TEST_NGINX_CERT_DIR/ca.crt;
    }
--- response_body eval: $::Token



=== TEST 27: an http endpoint that is not loopback: a warning
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://192.0.2.1/token;
    }
--- request
DELETE /token
--- error_code: 405
--- error_log eval
qr/\[warn\].*the client secret travels in clear to "token_proxy_endpoint" "http:\/\/192.0.2.1\/token" in \S+nginx.conf:\d+/



=== TEST 28: an http endpoint in an upstream block that is not loopback: a warning
--- http_config
    upstream idp { server 127.0.0.1:1; server 192.0.2.1; }
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://idp/token;
    }
--- request
DELETE /token
--- error_code: 405
--- error_log
the client secret travels in clear to "token_proxy_endpoint" "http://idp/token"



=== TEST 29: http to loopback: no warning
--- http_config
    upstream idp { server 127.0.0.1:1; server [::1]:1; server unix:/tmp/x; }
--- config
    location = /a { token_proxy on; token_proxy_endpoint http://127.1.2.3/token; }
    location = /b { token_proxy on; token_proxy_endpoint http://[::1]:80/token; }
    location = /c { token_proxy on; token_proxy_endpoint http://localhost/token; }
    location = /d { token_proxy on; token_proxy_endpoint http://idp/token; }
    location = /e { token_proxy on; token_proxy_endpoint http://unix:/tmp/x:/token; }
--- request
DELETE /a
--- error_code: 405
--- no_error_log
[warn]



=== TEST 30: a trusted certificate that is not there
--- config
    location = /token {
        token_proxy                          on;
        token_proxy_endpoint                 https://localhost/token;
        token_proxy_ssl_trusted_certificate  $TEST_NGINX_CERT_DIR/none.crt;
    }
--- must_die
--- error_log eval
[qr/\[emerg\].*none.crt/, qr/\[emerg\].*token_proxy_ssl_trusted_certificate.* in \S+nginx.conf:\d+/]



=== TEST 31: a trusted certificate that is none
--- config
    location = /token {
        token_proxy                          on;
        token_proxy_endpoint                 https://localhost/token;
        token_proxy_ssl_trusted_certificate  $TEST_NGINX_CERT_DIR/ca.key;
    }
--- must_die
--- error_log eval
[qr/\[emerg\].*ca.key/, qr/\[emerg\].*token_proxy_ssl_trusted_certificate.* in \S+nginx.conf:\d+/]
