# What nginx -t says about the directives of cross-origin requests.

use lib 't/lib';
use Token tests => 150;

add_block_preprocessor(sub {
    my ($block) = @_;

    # wrong: the directives, and says: what nginx says
    if (defined $block->wrong) {
        $block->set_value(must_die => '');
        $block->set_value(error_log => $block->says);
    }

    my $cors = $block->wrong // $block->cors // '';

    $block->set_value(config => <<"END") unless defined $block->config;
        location = /token {
            token_proxy           on;
            token_proxy_endpoint  \$TEST_NGINX_ENDPOINT/ok;
            $cors
        }
END

    $block->set_value(request => 'GET /token') unless defined $block->must_die;
});

run_tests();

__DATA__

=== TEST 1: an origin without a scheme
--- wrong: token_proxy_cors_origin app.example.com;
--- says: origin "app.example.com" of "token_proxy_cors_origin" has no scheme, write it as in "https://app.example.com"



=== TEST 2: a host and port without a scheme
--- wrong: token_proxy_cors_origin localhost:3000;
--- says: origin "localhost:3000" of "token_proxy_cors_origin" has no scheme, write it as in



=== TEST 3: an origin with a path
--- wrong: token_proxy_cors_origin https://a.example.com/app;
--- says: origin "https://a.example.com/app" of "token_proxy_cors_origin" has a path, write it without anything after the host



=== TEST 4: an origin with a slash at its end
--- wrong: token_proxy_cors_origin https://a.example.com/;
--- says: not even a slash, as in "https://app.example.com"



=== TEST 5: a slash after the port
--- wrong: token_proxy_cors_origin http://localhost:3000/;
--- says: has a path, write it without anything after the port



=== TEST 6: an origin with a query
--- wrong: token_proxy_cors_origin https://a.example.com?x;
--- says: has a path



=== TEST 7: a user name
--- wrong: token_proxy_cors_origin https://me@a.example.com;
--- says: has a user name



=== TEST 8: a wildcard in a host
--- wrong: token_proxy_cors_origin https://*.example.com;
--- says: has a wildcard, write it as a regular expression, as in "~^https://[a-z0-9-]+\.example\.com$"



=== TEST 9: no host
--- wrong: token_proxy_cors_origin https://;
--- says: has no host



=== TEST 10: no host, but a port
--- wrong: token_proxy_cors_origin file://:80;
--- says: has no host



=== TEST 11: a name outside of ASCII, which browsers send in another form
--- wrong: token_proxy_cors_origin https://bücher.example;
--- says: has an invalid character, write a host name with others than letters, digits and hyphens as browsers send it



=== TEST 12: a port that is none
--- wrong: token_proxy_cors_origin https://a.example.com:65536;
--- says: has an invalid port



=== TEST 13: a colon without a port
--- wrong: token_proxy_cors_origin https://a.example.com:;
--- says: has an invalid port



=== TEST 14: a port with a letter
--- wrong: token_proxy_cors_origin https://a.example.com:80a;
--- says: has an invalid port



=== TEST 15: an IPv6 address that does not end
--- wrong: token_proxy_cors_origin http://[::1;
--- says: has an invalid IPv6 address



=== TEST 16: something after an IPv6 address
--- wrong: token_proxy_cors_origin http://[::1]a;
--- says: has an invalid host



=== TEST 17: an empty origin
--- wrong: token_proxy_cors_origin "";
--- says: origin "" of "token_proxy_cors_origin" has no scheme



=== TEST 18: a variable
--- wrong: token_proxy_cors_origin https://$host;
--- says: has an invalid character



=== TEST 19: off among origins
--- wrong: token_proxy_cors_origin https://a.example.com off;
--- says: "off" of "token_proxy_cors_origin" must stand alone



=== TEST 20: off after origins
--- wrong
token_proxy_cors_origin https://a.example.com;
token_proxy_cors_origin off;
--- says: "off" of "token_proxy_cors_origin" must stand alone



=== TEST 21: origins after off
--- wrong
token_proxy_cors_origin off;
token_proxy_cors_origin https://a.example.com;
--- says: "token_proxy_cors_origin" directive is duplicate



=== TEST 22: a regular expression that is wrong
--- wrong: token_proxy_cors_origin "~^https://(a$";
--- says: pcre



=== TEST 23: an empty regular expression
--- wrong: token_proxy_cors_origin ~*;
--- says: empty regular expression in "token_proxy_cors_origin"



=== TEST 24: a regular expression that also allows others gets a warning
--- cors: token_proxy_cors_origin '~a\.example\.com';
--- error_log
does not begin with "^" and end with "$": it allows origins of others



=== TEST 25: any origin with credentials
--- wrong
token_proxy_cors_origin       *;
token_proxy_cors_credentials  on;
--- says: "token_proxy_cors_credentials on" cannot be used with "token_proxy_cors_origin *"



=== TEST 26: also where they come from different levels
--- config
    token_proxy_cors_credentials  on;

    location = /token {
        token_proxy              on;
        token_proxy_endpoint     $TEST_NGINX_ENDPOINT/ok;
        token_proxy_cors_origin  *;
    }
--- must_die
--- error_log
"token_proxy_cors_credentials on" cannot be used with "token_proxy_cors_origin *"



=== TEST 27: any exposed header with credentials
--- wrong
token_proxy_cors_origin          https://a.example.com;
token_proxy_cors_credentials     on;
token_proxy_cors_expose_headers  *;
--- says: "token_proxy_cors_credentials on" cannot be used with "token_proxy_cors_expose_headers *"



=== TEST 28: headers separated by commas
--- wrong: token_proxy_cors_headers Content-Type, Authorization;
--- says: "Content-Type," in "token_proxy_cors_headers" has a comma, separate names by spaces



=== TEST 29: a header's name with a colon
--- wrong: token_proxy_cors_headers "Authorization: Bearer";
--- says: has a character that a name cannot have



=== TEST 30: a star among headers
--- wrong: token_proxy_cors_headers * Authorization;
--- says: "*" in "token_proxy_cors_headers" must stand alone



=== TEST 31: an empty header
--- wrong: token_proxy_cors_expose_headers "";
--- says: "" in "token_proxy_cors_expose_headers" is empty



=== TEST 32: a method in small letters
--- wrong: token_proxy_cors_methods get;
--- says: "get" in "token_proxy_cors_methods" is no method, their names are in capitals



=== TEST 33: a star for methods
--- wrong: token_proxy_cors_methods *;
--- says: "*" in "token_proxy_cors_methods" cannot be used, name the methods



=== TEST 34: methods twice
--- wrong
token_proxy_cors_methods GET;
token_proxy_cors_methods POST;
--- says: "token_proxy_cors_methods" directive is duplicate



=== TEST 35: an own origin with a path
--- wrong: token_proxy_cors_self https://token.example.com/;
--- says: origin "https://token.example.com/" of "token_proxy_cors_self" has a path



=== TEST 36: an own origin without a scheme
--- wrong: token_proxy_cors_self token.example.com;
--- says: of "token_proxy_cors_self" has no scheme



=== TEST 37: the same origin twice, in two spellings, is one
--- cors: token_proxy_cors_origin https://a.example.com HTTPS://A.example.com:443;
--- response_headers
Vary: Origin



=== TEST 38: other origins beside a star get a warning
--- cors: token_proxy_cors_origin * https://a.example.com;
--- response_headers
Access-Control-Allow-Origin: *
--- error_log
has no effect beside "*"
