# The tests' own net: a block fails when nginx writes a secret or a token,
# whichever way it got out.

use strict;
use warnings;
use lib 't/lib';

use Test::More;
use Token::Util qw(spew work_dir);

my $LIB = 't/lib';
my $PLAIN = 'proxy_pass $TEST_NGINX_ENDPOINT/ok;';

ok(passes($PLAIN), 'nothing is written');
ok(!passes("$PLAIN proxy_set_header Authorization "
    . '"Basic bXkta2V5Om15LXNlY3JldA==";'), 'the Basic value in the error log');
ok(!passes("$PLAIN proxy_set_header X-Secret my-secret;"),
    'the secret in the error log');
ok(!passes("$PLAIN proxy_store \$TEST_NGINX_SERVROOT/html/stored;"),
    'a token on disk');
ok(passes("$PLAIN proxy_set_header X-Secret my-secret;",
    '--- secrets_in_log_ok'), 'a block may be without the check');
ok(passes($PLAIN, '--- endpoint_calls: 1'), 'one call of the endpoint');
ok(!passes($PLAIN, '--- endpoint_calls: 2'), '... is not two');

done_testing;


# Whether a test of one block, with these lines in its location, passes.
sub passes {
    my ($lines, @sections) = @_;
    my $test = spew(work_dir() . '/block.t', <<"END", map { "$_\n" } @sections);
use lib '$LIB';
use Token;

run_tests();

__DATA__

=== TEST 1: a location
--- config
    location = /token {
        $lines
    }
--- request
GET /token
END

    local $ENV{TEST_NGINX_WORK} = work_dir();
    my $output = `$^X $test 2>&1`;
    return $? == 0 && $output =~ /^ok 1 /m && $output !~ /^not ok/m;
}
