# What is wrong in a configuration, nginx -t says, with the directive, the file
# and the line.

use lib 't/lib';
use Token tests => 420;
use Token::Util qw(slurp);

# Sections of this file:
#
# --- inside  lines of a token location whose endpoint is not set
# --- says    the message without its place; $FILE stands for nginx.conf
add_block_preprocessor(sub {
    my ($block) = @_;
    my $inside = $block->inside;

    $block->set_value(config => <<"END") if defined $inside;
        location = /token {
            token_proxy  on;
            $inside
        }
END

    if (defined(my $says = $block->says)) {
        chomp $says;
        $block->set_value(must_die => '');
        $block->set_value(error_log =>
            [qr{\[emerg\] \d+\#\d+: \Q$says\E in \S+/nginx\.conf:\d+$}]);
    }

    $block->set_value(request => 'DELETE /token')
        unless defined $block->request;
});

# The line that is named is one of the module's.
add_test_cleanup_handler(sub {
    my ($block) = @_;

    if (defined $block->says) {
        my ($file, $line) = slurp("$ENV{TEST_NGINX_SERVROOT}/logs/error.log")
            =~ /\[emerg\].* in (\S+):(\d+)$/m;
        my @lines = split /\n/, slurp($file);

        main::like($lines[$line - 1], qr/token_proxy/,
            $block->name . ' - the line');
    }
});

run_tests();

__DATA__

=== TEST 1: no endpoint
--- inside eval: ''
--- says
"token_proxy" needs "token_proxy_endpoint"



=== TEST 2: an endpoint without token_proxy is a warning
--- config
    location = /token {
        token_proxy_endpoint  http://127.0.0.1/token;
    }
--- request
GET /token
--- error_code: 404
--- error_log eval
[qr{\[warn\].*"token_proxy_endpoint" in location "/token" is not used without "token_proxy on" in \S+/nginx\.conf:\d+}, 'No such file']



=== TEST 3: an endpoint that is no URL
--- inside: token_proxy_endpoint  session.example.com/token;
--- says
no "http://" or "https://" in "token_proxy_endpoint" "session.example.com/token"



=== TEST 4: an endpoint of another scheme
--- inside: token_proxy_endpoint  ftp://session.example.com/token;
--- says
no "http://" or "https://" in "token_proxy_endpoint" "ftp://session.example.com/token"



=== TEST 5: an endpoint without a host
--- inside: token_proxy_endpoint  http:///token;
--- says
no host in "token_proxy_endpoint" "http:///token"



=== TEST 6: an endpoint with a port that is none
--- inside: token_proxy_endpoint  http://127.0.0.1:99999/token;
--- says
invalid port in "token_proxy_endpoint" "http://127.0.0.1:99999/token"



=== TEST 7: an endpoint with a fragment
--- inside: token_proxy_endpoint  http://127.0.0.1/token#a;
--- says
a fragment is not allowed in "token_proxy_endpoint" "http://127.0.0.1/token#a"



=== TEST 8: an endpoint with a space
--- inside: token_proxy_endpoint  "http://127.0.0.1/token a";
--- says
invalid character in "token_proxy_endpoint" "http://127.0.0.1/token a"



=== TEST 9: an empty endpoint
--- inside: token_proxy_endpoint  "";
--- says
no "http://" or "https://" in "token_proxy_endpoint" ""



=== TEST 10: an endpoint whose host is not known
--- inside: token_proxy_endpoint  http://no-such-host.invalid/token;
--- says
host not found in upstream "no-such-host.invalid"



=== TEST 11: an endpoint with a variable that is not known
--- inside: token_proxy_endpoint  http://127.0.0.1/$no_such_variable;
--- says
the value of "token_proxy_endpoint" has a "$" before a name that is no variable's



=== TEST 12: two endpoints
--- inside
token_proxy_endpoint  http://127.0.0.1/a;
            token_proxy_endpoint  http://127.0.0.1/b;
--- says
"token_proxy_endpoint" directive is duplicate



=== TEST 13: an endpoint at server level
--- config
    token_proxy_endpoint  http://127.0.0.1/a;
--- says
"token_proxy_endpoint" directive is not allowed here



=== TEST 14: token_proxy at server level
--- config
    token_proxy  on;
--- says
"token_proxy" directive is not allowed here



=== TEST 15: token_proxy in an "if" block
--- config
    location / {
        if ($arg_a) {
            token_proxy  on;
        }
    }
--- says
"token_proxy" directive is not allowed here



=== TEST 16: token_proxy that is neither on nor off
--- config
    location = /token {
        token_proxy  yes;
    }
--- says
invalid value "yes" in "token_proxy" directive, it must be "on" or "off"



=== TEST 17: two token_proxy
--- inside
token_proxy  on;
--- says
"token_proxy" directive is duplicate



=== TEST 18: proxy_pass before it
--- config
    location = /token {
        proxy_pass            http://127.0.0.1;
        token_proxy           on;
        token_proxy_endpoint  http://127.0.0.1/token;
    }
--- says
"token_proxy" cannot share location "/token" with another content handler, such as "proxy_pass"



=== TEST 19: proxy_pass after it
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://127.0.0.1/token;
        proxy_pass            http://127.0.0.1;
    }
--- says
"token_proxy" cannot share location "/token" with another content handler, such as "proxy_pass"



=== TEST 20: another content handler
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            stub_status;
--- says
"token_proxy" cannot share location "/token" with another content handler, such as "proxy_pass"



=== TEST 21: fastcgi_pass
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            fastcgi_pass  127.0.0.1:9000;
--- says
"token_proxy" cannot share location "/token" with another content handler, such as "proxy_pass"



=== TEST 22: a field that nobody has registered is a warning
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://127.0.0.1/token;
        token_proxy_fields    access_token merchant_id;
    }
--- error_code: 405
--- error_log eval
qr{\[warn\].*field "merchant_id" in "token_proxy_fields" is no registered name of a token answer in \S+/nginx\.conf:\d+}



=== TEST 23: "*" with others
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_fields    access_token *;
--- says
invalid field "*" in "token_proxy_fields", use "*" alone for every member of an answer



=== TEST 24: a field that stands twice
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_fields    scope access_token scope;
--- says
duplicate field "scope" in "token_proxy_fields"



=== TEST 25: an empty field
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_fields    "";
--- says
invalid field "" in "token_proxy_fields", use "*" alone for every member of an answer



=== TEST 26: no field
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_fields;
--- says
invalid number of arguments in "token_proxy_fields" directive



=== TEST 27: two lists of fields
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_fields    scope;
            token_proxy_fields    access_token;
--- says
"token_proxy_fields" directive is duplicate



=== TEST 28: a method that is not meant
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_methods   GET PUT;
--- says
unknown method "PUT" in "token_proxy_methods"



=== TEST 29: a method in small letters
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_methods   get;
--- says
unknown method "get" in "token_proxy_methods"



=== TEST 30: a method that stands twice
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_methods   GET POST GET;
--- says
duplicate method "GET" in "token_proxy_methods"



=== TEST 31: two lists of methods
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_methods   GET;
            token_proxy_methods   POST;
--- says
"token_proxy_methods" directive is duplicate



=== TEST 32: an auth method that nobody knows
--- inside
token_proxy_endpoint     http://127.0.0.1/token;
            token_proxy_auth_method  basic;
--- says
unknown method "basic" in "token_proxy_auth_method"



=== TEST 33: an encoding that nobody knows
--- inside
token_proxy_endpoint     http://127.0.0.1/token;
            token_proxy_auth_method  client_secret_basic encoding=url;
--- says
invalid parameter "encoding=url" in "token_proxy_auth_method"



=== TEST 34: an encoding where none is used
--- inside
token_proxy_endpoint     http://127.0.0.1/token;
            token_proxy_auth_method  client_secret_post encoding=raw;
--- says
"token_proxy_auth_method" has an encoding with "client_secret_basic" only



=== TEST 35: two auth methods
--- inside
token_proxy_endpoint     http://127.0.0.1/token;
            token_proxy_auth_method  none;
            token_proxy_auth_method  client_secret_post;
--- says
"token_proxy_auth_method" directive is duplicate



=== TEST 36: two grant types
--- inside
token_proxy_endpoint    http://127.0.0.1/token;
            token_proxy_grant_type  a;
            token_proxy_grant_type  b;
--- says
"token_proxy_grant_type" directive is duplicate



=== TEST 37: an empty grant type
--- inside
token_proxy_endpoint    http://127.0.0.1/token;
            token_proxy_grant_type  "";
--- says
"token_proxy_grant_type" directive must not be empty



=== TEST 38: a parameter that stands twice
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_param     scope a;
            token_proxy_param     scope b;
--- says
duplicate parameter "scope" in "token_proxy_param"



=== TEST 39: parameters that are the module's own
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_param     client_secret  a;
--- says
parameter "client_secret" cannot be set by "token_proxy_param"



=== TEST 40: a parameter without a name
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_param     ""  a;
--- says
parameter "" cannot be set by "token_proxy_param"



=== TEST 41: a parameter without a value
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_param     scope;
--- says
invalid number of arguments in "token_proxy_param" directive



=== TEST 42: a size that is none
--- inside
token_proxy_endpoint           http://127.0.0.1/token;
            token_proxy_max_response_size  big;
--- says
"token_proxy_max_response_size" directive invalid value



=== TEST 43: a size of zero
--- inside
token_proxy_endpoint           http://127.0.0.1/token;
            token_proxy_max_response_size  0;
--- says
"token_proxy_max_response_size" directive must not be zero



=== TEST 44: a negative size
--- inside
token_proxy_endpoint           http://127.0.0.1/token;
            token_proxy_max_response_size  -1;
--- says
"token_proxy_max_response_size" directive invalid value



=== TEST 45: a size beyond all memory
--- inside
token_proxy_endpoint           http://127.0.0.1/token;
            token_proxy_max_response_size  99999999999g;
--- says
"token_proxy_max_response_size" directive invalid value



=== TEST 46: two sizes
--- inside
token_proxy_endpoint           http://127.0.0.1/token;
            token_proxy_max_response_size  1k;
            token_proxy_max_response_size  2k;
--- says
"token_proxy_max_response_size" directive is duplicate



=== TEST 47: verification that is neither on nor off
--- inside
token_proxy_endpoint    http://127.0.0.1/token;
            token_proxy_ssl_verify  optional;
--- says
invalid value "optional" in "token_proxy_ssl_verify" directive, it must be "on" or "off"



=== TEST 48: two trusted certificates
--- inside
token_proxy_endpoint                 http://127.0.0.1/token;
            token_proxy_ssl_trusted_certificate  a;
            token_proxy_ssl_trusted_certificate  b;
--- says
"token_proxy_ssl_trusted_certificate" directive is duplicate



=== TEST 49: an empty trusted certificate
--- inside
token_proxy_endpoint                 http://127.0.0.1/token;
            token_proxy_ssl_trusted_certificate  "";
--- says
"token_proxy_ssl_trusted_certificate" directive must not be empty



=== TEST 50: a directive that is not known
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_secret    a;
--- says
unknown directive "token_proxy_secret"



=== TEST 51: what is wrong in an "if" block is found as well
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://127.0.0.1/token;

        if ($arg_a) {
            token_proxy_fields  scope;
        }
    }
--- says
"token_proxy_fields" directive is not allowed here



=== TEST 52: how long a file is used, not as a time
--- inside
token_proxy_endpoint    http://127.0.0.1/token;
            token_proxy_file_valid  soon;
--- says
"token_proxy_file_valid" directive invalid value



=== TEST 53: how long a file is used, twice
--- inside
token_proxy_endpoint    http://127.0.0.1/token;
            token_proxy_file_valid  1s;
            token_proxy_file_valid  2s;
--- says
"token_proxy_file_valid" directive is duplicate



=== TEST 54: a location that is right, for comparison
--- inside: token_proxy_endpoint  http://127.0.0.1/token;
--- error_code: 405
--- no_error_log
[emerg]
[warn]



=== TEST 55: a form of requests that is not known
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_request  xml;
--- says
unknown form "xml" in "token_proxy_request", there are "form", "json" and "query"



=== TEST 56: the form of requests, twice
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_request  form;
            token_proxy_request  json;
--- says
"token_proxy_request" directive is duplicate



=== TEST 57: a member whose name cannot stand in an answer
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_member  'a"b' c;
--- says
"a"b" in "token_proxy_member" is not the name of a member



=== TEST 58: a path of a member without a name
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_member  access_token  data..token;
--- says
path "data..token" in "token_proxy_member" is not 1 to 16 names joined by dots



=== TEST 59: a path of a member that ends with a dot
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_member  access_token  data.;
--- says
path "data." in "token_proxy_member" is not 1 to 16 names joined by dots



=== TEST 60: an empty path of a member
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_member  access_token  "";
--- says
path "" in "token_proxy_member" is not 1 to 16 names joined by dots



=== TEST 61: a path of a member that is too deep
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_member  access_token  a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a;
--- says
path "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a" in "token_proxy_member" is not 1 to 16 names joined by dots



=== TEST 62: the path of a member, twice
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_member  access_token  a;
            token_proxy_member  access_token  b;
--- says
duplicate member "access_token" in "token_proxy_member"



=== TEST 63: too many members
--- inside eval
"token_proxy_endpoint  http://127.0.0.1/token;
            " . CORE::join("", map { "token_proxy_member error_$_ a; " } 1 .. 33) . ""
--- says
more than 32 members in "token_proxy_member"



=== TEST 64: paths of members, and every field
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_fields  *;
            token_proxy_member  access_token  a;
--- says
"*" of "token_proxy_fields" cannot be used with "token_proxy_member", name the fields



=== TEST 65: a claim that is the module's own: iat
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_grant_claim  iat a;
--- says
claim "iat" cannot be set by "token_proxy_grant_claim"



=== TEST 66: a claim that is the module's own: exp
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_grant_claim  exp a;
--- says
claim "exp" cannot be set by "token_proxy_grant_claim"



=== TEST 67: a claim that is the module's own: jti
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_grant_claim  jti a;
--- says
claim "jti" cannot be set by "token_proxy_grant_claim"



=== TEST 68: a claim that is the module's own: nbf
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_grant_claim  nbf a;
--- says
claim "nbf" cannot be set by "token_proxy_grant_claim"



=== TEST 69: a claim without a name
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_grant_claim  "" a;
--- says
claim "" cannot be set by "token_proxy_grant_claim"



=== TEST 70: a claim that stands twice
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_grant_claim  a b;
            token_proxy_grant_claim  a c;
--- says
duplicate claim "a" in "token_proxy_grant_claim"



=== TEST 71: a claim that is not UTF-8
--- inside eval
"token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_grant_claim  a \xff;"
--- says
the value of claim "a" of "token_proxy_grant_claim" is not UTF-8



=== TEST 72: a client id as a parameter, where the method sends it
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_auth_method  client_secret_post;
            token_proxy_param        client_id  a;
--- says
parameter "client_id" cannot be set by "token_proxy_param"



=== TEST 73: a client id as a parameter, beside that of a public client
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_auth_method  none;
            token_proxy_param        client_id  a;
--- says
parameter "client_id" cannot be set by "token_proxy_param"



=== TEST 74: the grant type as a parameter
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_grant_type  off;
            token_proxy_param       grant_type  a;
--- says
parameter "grant_type" cannot be set by "token_proxy_param"



=== TEST 75: JSON: a parameter that is not UTF-8
--- inside eval
"token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_request  json;
            token_proxy_param    a  b\xc3;"
--- says
parameter "a" of "token_proxy_param" is not UTF-8, which "token_proxy_request json" needs



=== TEST 76: JSON: a parameter that stands twice
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_request  json;
            token_proxy_param    audience  a;
            token_proxy_param    audience  b;
--- says
parameter "audience" of "token_proxy_param" stands twice, which "token_proxy_request json" cannot send: a name that ends with "[]" is one of an array



=== TEST 77: a certificate that is not there
--- inside
token_proxy_endpoint  http://127.0.0.1/token;
            token_proxy_certificate  "";
--- says
"token_proxy_certificate" directive needs the path of a file



=== TEST 78: a secret in a URL is a warning
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://127.0.0.1/token;
        token_proxy_request      query;
        token_proxy_auth_method  client_secret_post;
    }
--- error_code: 405
--- error_log eval
qr{\[warn\].*with "token_proxy_request query" and "token_proxy_auth_method client_secret_post" the client secret is in the URL, which the endpoint may log in \S+/nginx\.conf:\d+}



=== TEST 79: a member without a registered name is a warning
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://127.0.0.1/token;
        token_proxy_member  acces_token  a;
    }
--- error_code: 405
--- error_log eval
qr{\[warn\].*"acces_token" in "token_proxy_member" is no registered name of a member in \S+/nginx\.conf:\d+}



=== TEST 80: a token in clear is a warning, where there is no secret
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://192.0.2.1/token;
        token_proxy_auth_method  none;
    }
--- error_code: 405
--- error_log eval
qr{\[warn\].*the token travels in clear from "token_proxy_endpoint" "http://192\.0\.2\.1/token" in \S+/nginx\.conf:\d+}



=== TEST 81: a machine's metadata service needs no client, and is worth no warning
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://169.254.169.254/token;
        token_proxy_request      query;
        token_proxy_grant_type   off;
        token_proxy_auth_method  none;
        proxy_set_header         Metadata-Flavor  Google;
    }
--- no_credentials
--- error_code: 405
--- no_error_log
[emerg]
[warn]



=== TEST 82: a claim that nobody signs is a warning
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://127.0.0.1/token;
        token_proxy_grant_claim  scope  a;
    }
--- error_code: 405
--- error_log eval
qr{\[warn\].*"token_proxy_grant_claim" is not used without "token_proxy_grant_type urn:ietf:params:oauth:grant-type:jwt-bearer" and an assertion to sign in \S+/nginx\.conf:\d+}



=== TEST 83: a user name in the endpoint
--- inside
token_proxy_endpoint  http://me:pass@127.0.0.1/token;
--- says
a user name in "token_proxy_endpoint" is not allowed



=== TEST 84: what may be a password is not shown
--- inside
token_proxy_endpoint  http://me:pa/ss@127.0.0.1/token;
--- says
invalid port in "token_proxy_endpoint", whose "@" may stand in a path or a query only



=== TEST 85: an @ in the path of the endpoint
--- config
    location = /token {
        token_proxy           on;
        token_proxy_endpoint  http://127.0.0.1:1/robot@example.com:token;
        token_proxy_methods   POST;
    }
--- error_code: 405
--- no_error_log
[emerg]



=== TEST 86: a user name in an endpoint with variables
--- inside
token_proxy_endpoint  http://me:pass@127.0.0.1/$arg_x;
--- says
a user name in "token_proxy_endpoint" is not allowed



=== TEST 87: a query behind the path of a Unix socket
--- inside
token_proxy_endpoint  http://unix:/run/idp.sock?code=my-code;
--- says
no ":" between the socket and the "?" in "token_proxy_endpoint" "http://unix:/run/idp.sock"
