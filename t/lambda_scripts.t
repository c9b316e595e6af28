# packaging/lambda/create.sh and delete.sh: what they ask of the AWS CLI, what
# they leave behind when something fails, and that no secret is in a list of
# arguments or in what they write.
#
# What comes first has a stand-in for "aws" that says what AWS would. The last
# part has the AWS CLI itself and moto's server, where Debian has them (from
# trixie on): TEST_MOTO_PYTHON names another Python that has moto.

use strict;
use warnings;
use lib 't/lib';

use Digest::SHA qw(sha256_base64);
use HTTP::Tiny;
use IO::Compress::Zip qw(zip);
use JSON::PP qw(decode_json);
use POSIX ();
use Test::More;
use Token::Daemon;
use Token::Util qw($ROOT free_port slurp slurp_or_empty spew wait_for work_dir);

plan(tests => 199);

my $LAMBDA = "$ROOT/packaging/lambda";
my $SECRET = q(my-"sec\ret$);
my %ENVIRONMENT = (CONSUMER_KEY => 'my-key-7', CONSUMER_SECRET => $SECRET,
    TOKEN_ENDPOINT => 'https://id.example.com/token?a=b', CORS_ORIGIN => undef,
    AWS_ACCESS_KEY_ID => 'a', AWS_SECRET_ACCESS_KEY => 'b', AWS_REGION => 'eu-west-1',
    AWS_DEFAULT_REGION => undef, AWS_CONFIG_FILE => '/dev/null', ROLE_WAIT => 0);
my $dir = work_dir();
my $runs = 0;
my $zip = "$dir/token.zip";
my @commands = qw(cat cut grep mktemp od rm sed sleep unzip uname);

mkdir "$dir/$_" for qw(bin cwd runs);

# a program for another machine, as far as its header goes
zip(\("\x7fELF" . "\0" x 14 . pack('v', 183) . 'x' x 100) => $zip, Name => 'bootstrap')
    or die "no zip\n";


# All commands that the scripts may start are recorded with their arguments;
# "aws" with the files that it is given as well.
for my $command (@commands, 'aws') {
    my ($path) = grep { -x } map { "$_/$command" } qw(/usr/bin /bin);

    $path //= '/bin/false';
    $path = "\"\${REAL_AWS:-$dir/stand-in}\"" if $command eq 'aws';
    spew("$dir/bin/$command", <<"END");
#!/bin/bash
printf '%s\\0' $command "\$\@" >> "\$CALLS"
printf '\\n' >> "\$CALLS"
for argument; do
    [[ $command != aws || \$argument != file://* ]] && continue
    { stat -c %a "\${argument#file://}"; cat "\${argument#file://}"; } > "\$CALLS.environment"
done
exec $path "\$\@"
END
    chmod 0755, "$dir/bin/$command";
}

spew("$dir/stand-in", <<'END');
#!/bin/bash
missing() { echo "An error occurred ($1) when calling the operation: not found" >&2; exit 254; }
words=" $* "
[[ ! $SLOW || $words != *" $SLOW "* ]] || sleep 30
if [[ $FAIL && $words == *" $FAIL "* ]]; then
    echo "An error occurred (ServiceException) when calling: $CONSUMER_KEY:$CONSUMER_SECRET" >&2
    exit 254
fi
case $words in
    *" get-role "*)             [[ $ROLE_IS ]] && echo "$ROLE_IS" || missing NoSuchEntity ;;
    *" get-function "*)         [[ $FUNCTION_IS ]] && echo "$FUNCTION_IS" || missing ResourceNotFoundException ;;
    *" get-function-url-config "*)  [[ $URL_IS ]] && echo "$URL_IS" || missing ResourceNotFoundException ;;
    *" get-rest-apis "*)        printf 'None\n%s\n' "${API_IS:-None}" ;;
    *" create-role "*)          echo arn:aws:iam::123456789012:role/token ;;
    *" create-function "*)
        if [[ $NEW_ROLE ]] && (( $(/usr/bin/grep -ac create-function "$CALLS") < 3 )); then
            echo "An error occurred (InvalidParameterValueException): The role defined for the function cannot be assumed by Lambda." >&2
            exit 254
        fi
        echo arn:aws:lambda:eu-west-1:123456789012:function:token ;;
    *" create-rest-api "*)      echo api123 ;;
    *" get-resources "*)        printf 'root1\t%s\n' "${RESOURCE_IS:-None None}" ;;
    *" create-resource "*)      echo resource1 ;;
    *" create-function-url-config "*)   echo https://u7.lambda-url.eu-west-1.on.aws/ ;;
    *" --generate-cli-skeleton "*)      echo '"InvokedViaFunctionUrl": true' ;;
    *" add-permission "*)       [[ ! $PERMISSION_IS ]] || missing ResourceConflictException
                                echo '{"Statement":"..."}' ;;
    *" delete-role-policy "*)   missing NoSuchEntity ;;
esac
exit 0
END
chmod 0755, "$dir/stand-in";


# arguments
for my $case (
    [['--api', 'soap'], '--api has to be rest or url'],
    [['--auth', 'basic'], '--auth has to be none or iam'],
    [['--memory', '64'], '--memory has to be 128 to 10240'],
    [['--memory', '10241'], '--memory has to be 128 to 10240'],
    [['--architecture', 'sparc'], '--architecture has to be x86_64 or arm64'],
    [['--name', 'a b'], '--name has to be 1 to 48 letters, digits, - and _'],
    [['--name', 'x' x 49], '--name has to be 1 to 48 letters, digits, - and _'],
    [['--region', 'here'], '"here" is no region'],
    [['--endpoint-url', 'localhost'], '--endpoint-url has to be a URL'],
    [['--role', 'admin'], '--role has to be the ARN of a role'],
    [['--secret-id', 'a"b'], '--secret-id has a character that no name has'],
    [['--env', 'A=b'], '--env has to be a name in capitals'],
    [['--env', 'TIMEOUT'], '--env TIMEOUT is a name that create.sh uses itself: take another one'],
    [['--env', 'NOT_SET'], 'NOT_SET is not set, in the environment or in .env'],
    [['--zip', '/nowhere.zip'], 'no file /nowhere.zip: ./build.sh lambda makes it'],
    [['--name'], '--name needs a value'],
    [['--colour', 'red'], 'there is no option --colour: --help lists all'],
    [['token'], 'there is no argument token: --help lists all'])
{
    my $got = run('create.sh', $case->[0]);

    is($got->{output}, "create.sh: $case->[1]\n", "create.sh @{ $case->[0] }");
    is($got->{status}, 1, '... fails');
    is_deeply($got->{aws}, [], '... and asks nothing');
}

for my $case (
    [{ CONSUMER_SECRET => undef }, 'CONSUMER_SECRET is not set, in the environment or in .env'],
    [{ TOKEN_ENDPOINT => '' }, 'TOKEN_ENDPOINT is not set, in the environment or in .env'],
    [{ CONSUMER_KEY => "a\nb" }, 'CONSUMER_KEY has a line break or a control character'])
{
    is(run('create.sh', [], %{ $case->[0] })->{output}, "create.sh: $case->[1]\n", $case->[1]);
}

for my $script ('create.sh', 'delete.sh') {
    my $got = run($script, ['--help']);

    is($got->{status}, 0, "$script --help");
    like($got->{output}, qr/^usage: \Q$script\E/, '... tells how it is used');
}

is(run('delete.sh', ['all'])->{output},
    "delete.sh: there is no argument all: --help lists all\n", 'delete.sh all');


# a dry run
for my $api ('rest', 'url') {
    my $got = run('create.sh', ['--dry-run', '--api', $api, '--zip', '/nowhere.zip']);
    my $last = $api eq 'rest' ? 'create-deployment' : '--invoked-via-function-url';

    is($got->{status}, 0, "--dry-run --api $api");
    is_deeply($got->{aws}, [], '... asks nothing');
    like($got->{output}, qr/^aws .* iam create-role .*^aws .* lambda create-function .*^aws .*\Q$last\E.*^https:\S+\/token$/ms,
        '... and says what it would ask');
    clean($got, '...');
}


# all of it
{
    my $got = run('create.sh', ['--memory', '256']);

    is($got->{status}, 0, 'create.sh') or diag($got->{output});
    is((split /\n/, $got->{output})[-1],
        'https://api123.execute-api.eu-west-1.amazonaws.com/prod/token', '... prints the URL');
    is_deeply([steps($got)], [qw(get-function-url-config get-role create-role
        attach-role-policy get-function create-function wait get-rest-apis create-rest-api
        get-resources create-resource put-method put-integration add-permission
        create-deployment)], '... after all steps') or diag(join ' ', steps($got));

    my ($create) = grep { /create-function/ } @{ $got->{aws} };
    like($create, qr/--runtime provided\.al2023 .*--memory-size 256 /, '... with what was asked for');
    like($create, -x '/usr/bin/unzip' ? qr/--architectures arm64 / : qr/--architectures \S+ /,
        '... for the machine that the zip is for');
    like(join("\n", @{ $got->{aws} }), qr{--source-arn arn:aws:execute-api:eu-west-1:123456789012:api123/\*/\*/token},
        '... for that API alone');

    my ($mode, $json) = split /\n/, $got->{environment}, 2;
    is($mode, '600', '... the environment is in a file that nobody else reads');
    is_deeply(decode_json($json)->{Variables}, { map { $_ => $ENVIRONMENT{$_} }
        qw(CONSUMER_KEY CONSUMER_SECRET TOKEN_ENDPOINT) }, '... all of it');
    clean($got, '...');
}

# once more, when everything is there
{
    my $got = run('create.sh', [], ROLE_IS => "arn:aws:iam::123456789012:role/token\ttoken",
        FUNCTION_IS => "arn:aws:lambda:eu-west-1:123456789012:function:token\ttoken",
        API_IS => 'api456', RESOURCE_IS => "resource1\tNONE", PERMISSION_IS => 1);

    is($got->{status}, 0, 'create.sh once more') or diag($got->{output});
    is_deeply([grep { !/get-|wait/ } steps($got)], [qw(delete-role-policy
        update-function-code update-function-configuration put-integration
        add-permission create-deployment)], '... updates') or diag(join ' ', steps($got));
    like($got->{output}, qr{^https://api456\.execute-api}m, '... the same API');
    clean($got, '...');
}

{
    my $got = run('create.sh', ['--api', 'url', '--auth', 'iam', '--env', 'PAGE_PASSWORD'],
        PAGE_PASSWORD => 'open-7', CORS_ORIGIN => 'https://app.example.com');

    is($got->{status}, 0, '--api url --auth iam') or diag($got->{output});
    like($got->{output}, qr{^https://u7\.lambda-url\.eu-west-1\.on\.aws/token$}m, '... prints the URL');
    is_deeply([grep { /add-permission/ } steps($got)], [], '... which is not for everybody');
    unlike($got->{all}, qr/open-7/, '... and what --env names is a secret too');
    like($got->{environment},
        qr{"CORS_ORIGIN":"https://app\.example\.com","PAGE_PASSWORD":"open-7"}, '... in the file');
}


# .env
{
    spew("$dir/cwd/.env", "export CONSUMER_KEY='env-key'\nCONSUMER_SECRET=\"env-secret\" # x\n"
        . "TOKEN_ENDPOINT=https://other.example.com/token\n");

    my $got = run('create.sh', [], CONSUMER_KEY => undef, CONSUMER_SECRET => undef);
    unlink "$dir/cwd/.env";

    is($got->{status}, 0, '.env') or diag($got->{output});
    like($got->{environment}, qr/"CONSUMER_KEY":"env-key"/, '... has the key');
    like($got->{environment}, qr/"CONSUMER_SECRET":"env-secret"/, '... and the secret');
    like($got->{environment}, qr/id\.example\.com/, '... but the environment is first');
    unlike($got->{all}, qr/env-secret|env-key/, '... and none is shown');
}


# what AWS keeps
for my $case (
    ['prod/token', 'secretsmanager:GetSecretValue',
        'arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/token-??????'],
    ['ssm:/prod/token', 'ssm:GetParameter', 'arn:aws:ssm:eu-west-1:123456789012:parameter/prod/token'],
    ['arn:aws:ssm:eu-west-1:1:parameter/x', 'ssm:GetParameter', 'arn:aws:ssm:eu-west-1:1:parameter/x'])
{
    my ($id, $action, $resource) = @$case;
    my $got = run('create.sh', ['--secret-id', $id], CONSUMER_KEY => undef, CONSUMER_SECRET => undef);
    my ($policy) = map { /put-role-policy .*--policy-document (\S+)/ ? $1 : () } @{ $got->{aws} };

    is($got->{status}, 0, "--secret-id $id") or diag($got->{output});
    is_deeply(decode_json($policy // '{}')->{Statement},
        [{ Effect => 'Allow', Action => $action, Resource => $resource }], '... may be read, and no other');
    is_deeply([sort keys %{ decode_json((split /\n/, $got->{environment})[1])->{Variables} }],
        ['TOKEN_ENDPOINT', 'TOKEN_SECRET_ID'], '... and the function has no secret');
}


# what fails half-way is undone, in the reverse order
my %undo = (
    'attach-role-policy' => [qw(delete-role)], 'create-function' => [qw(delete-role)],
    'create-rest-api' => [qw(delete-function delete-role)],
    map { $_ => [qw(delete-rest-api delete-function delete-role)] }
        qw(put-method put-integration add-permission create-deployment));

for my $step (sort keys %undo) {
    my $got = run('create.sh', [], FAIL => $step);

    is($got->{status}, 1, "$step fails");
    is_deeply([grep { /^delete-(?!role-policy)/ } steps($got)], $undo{$step}, '... what was made is removed');
    like($got->{output}, qr/An error occurred \(ServiceException\) when calling: \*\*\*:\*\*\*/,
        '... what AWS says is shown, without secrets');
    unlike($got->{output}, qr/^https:/m, '... and no URL');
    clean($got, '...');
}

{
    my $got = run('create.sh', [], FAIL => 'create-role');
    is_deeply([grep { /delete/ } steps($got)], [], 'create-role fails: nothing is removed');

    $got = run('create.sh', [], FAIL => 'get-role');
    is_deeply([grep { /create/ } steps($got)], [], 'get-role fails: nothing is made');

    $got = run('create.sh', [], NEW_ROLE => 1);
    is($got->{status}, 0, 'a role that is not known everywhere yet') or diag($got->{output});
    is(scalar(grep { $_ eq 'create-function' } steps($got)), 3, '... is waited for');

    $got = run('create.sh', [], SLOW => 'create-function', TERM_AFTER => 'create-function');
    is($got->{status}, 143, 'ended by a signal');
    is_deeply([grep { /^delete-(?!role-policy)/ } steps($got)], ['delete-role'], '... what was made is removed');
    clean($got, '...');
}


# what others have made
{
    my %others = (ROLE_IS => "arn:aws:iam::123456789012:role/token\tNone",
        FUNCTION_IS => "arn:aws:lambda:eu-west-1:123456789012:function:token\tother");
    my $got = run('create.sh', [], %others);

    is($got->{output}, "create.sh: there is a role token that create.sh has not made: "
        . "--name or --role names another\n", 'a role of others');
    is_deeply([grep { !/^get-/ } steps($got)], [], '... is not touched');

    $got = run('create.sh', [], FUNCTION_IS => $others{FUNCTION_IS});
    like($got->{output}, qr/^create\.sh: there is a function token that create\.sh has not made/m,
        'a function of others');
    is_deeply([grep { /function/ && !/^get-/ } steps($got)], [], '... is not touched');

    $got = run('delete.sh', [], %others);
    is($got->{output}, "The function token stays: create.sh has not made it.\n"
        . "The role token stays: create.sh has not made it.\nThere is nothing of the name token.\n",
        'delete.sh leaves them');
    is_deeply([grep { !/^get-/ } steps($got)], [], '... as they are');

    $got = run('create.sh', [], URL_IS => "https://u7/\tNONE", FUNCTION_IS =>
        "arn:aws:lambda:eu-west-1:123456789012:function:token\ttoken", ROLE_IS =>
        "arn:aws:iam::123456789012:role/token\ttoken");
    like($got->{output}, qr/^create\.sh: token is there with another --api/, 'another --api');
    is_deeply([grep { !/^get-/ } steps($got)], [], '... changes nothing');
}


# delete.sh
{
    my %ours = (ROLE_IS => "arn:aws:iam::123456789012:role/token\ttoken", API_IS => 'api123',
        FUNCTION_IS => "arn:aws:lambda:eu-west-1:123456789012:function:token\ttoken");
    my $got = run('delete.sh', ['--dry-run'], %ours);

    is($got->{output}, "Would delete the REST API api123.\nWould delete the function token.\n"
        . "Would delete the role token.\n", 'delete.sh --dry-run');
    is_deeply([grep { !/^get-/ } steps($got)], [], '... removes nothing');

    $got = run('delete.sh', [], %ours);
    is($got->{output}, "Deleted the REST API api123.\nDeleted the function token.\n"
        . "Deleted the role token.\nThe log group /aws/lambda/token, if Lambda has made one, stays.\n",
        'delete.sh says what it has removed');
    is_deeply([grep { !/^get-/ } steps($got)], [qw(delete-rest-api delete-function
        delete-role-policy detach-role-policy delete-role)], '... which is all');

    $got = run('delete.sh', [], %ours, FAIL => 'delete-function');
    is($got->{status}, 1, 'delete-function fails');
    like($got->{output}, qr/^delete\.sh: the function token was not deleted$/m, '... it says so');

    $got = run('delete.sh', [], FAIL => 'get-function');
    is($got->{status}, 1, 'Lambda does not answer: that is no sign that there is nothing');
}


# AWS's own client, and moto
SKIP: {
    my $python = $ENV{TEST_MOTO_PYTHON} // '/usr/bin/python3';
    my ($aws) = grep { -x } $ENV{TEST_MOTO_PYTHON} ? map { "$_/aws" } split /:/, $ENV{PATH} : '/usr/bin/aws';

    skip("moto or the AWS CLI is missing: Debian's awscli and python3-moto are from trixie on", 28)
        if !$aws || system("$python -c 'import moto.server, moto.apigateway.models' > /dev/null 2>&1");

    my $port = free_port();
    my %moto = (REAL_AWS => $aws, AWS_EC2_METADATA_DISABLED => 'true');
    my @at = ('--endpoint-url', "http://127.0.0.1:$port", '--region', 'eu-west-1');

    local $ENV{MOTO_IAM_LOAD_MANAGED_POLICIES} = 'true';
    local $ENV{MOTO_PORT} = $port;
    my $server = Token::Daemon->new(port => $port, log => "$dir/moto.log", command => [$python, '-c',
        "from moto.server import main; main(['-H', '127.0.0.1', '-p', '$port'])"])->start;

    # two names, at the same time
    my $second = start('create.sh', [@at, '--name', 'two', '--api', 'url'], %moto);
    my $got = run('create.sh', [@at, '--name', 'one'], %moto);
    my ($api) = $got->{output} =~ m{^https://(\w+)\.execute-api\.eu-west-1\.amazonaws\.com/prod/token$}m;

    is($got->{status}, 0, 'moto: create.sh') or diag($got->{output});
    ok($api, '... prints the URL');
    clean($got, '...');

    my $function = rest($port, 'lambda', '/2015-03-31/functions/one');
    is($function->{Configuration}{Runtime}, 'provided.al2023', '... there is a function');
    is($function->{Configuration}{CodeSha256}, sha256_base64(slurp($zip)) . '=', '... with the zip');
    is_deeply($function->{Configuration}{Environment}{Variables}, { map { $_ => $ENVIRONMENT{$_} }
        qw(CONSUMER_KEY CONSUMER_SECRET TOKEN_ENDPOINT) }, '... and its environment');
    is($function->{Configuration}{Role}, 'arn:aws:iam::123456789012:role/one', '... and its role');
    like(role($port, 'one'), qr/AWSLambdaBasicExecutionRole/, '... which may write logs');

    my ($resource) = grep { $_->{path} eq '/token' }
        @{ rest($port, 'apigateway', "/restapis/$api/resources?embed=methods")->{item} // [] };
    my $method = $resource->{resourceMethods}{ANY};
    is($method->{authorizationType}, 'NONE', '... there is /token');
    is($method->{methodIntegration}{type}, 'AWS_PROXY', '... with its integration');
    like($method->{methodIntegration}{uri}, qr{:function:one/invocations$}, '... of the function');
    is(rest($port, 'apigateway', "/restapis/$api/stages")->{item}[0]{stageName}, 'prod', '... deployed');

    my $policy = decode_json(rest($port, 'lambda', '/2015-03-31/functions/one/policy')->{Policy});
    is(scalar(@{ $policy->{Statement} }), 1, '... which may call the function');
    is($policy->{Statement}[0]{Condition}{ArnLike}{'AWS:SourceArn'},
        "arn:aws:execute-api:eu-west-1:123456789012:$api/*/*/token", '... and nobody else');

    $got = run('create.sh', [@at, '--name', 'one', '--memory', '256', '--auth', 'iam'], %moto);
    is($got->{status}, 0, 'moto: once more') or diag($got->{output});
    like($got->{output}, qr{^https://$api\.}m, '... updates the same API');
    is(rest($port, 'lambda', '/2015-03-31/functions/one')->{Configuration}{MemorySize}, 256, '... and the function');
    ($resource) = grep { $_->{path} eq '/token' }
        @{ rest($port, 'apigateway', "/restapis/$api/resources?embed=methods")->{item} // [] };
    is($resource->{resourceMethods}{ANY}{authorizationType}, 'AWS_IAM', '... and who may ask');

    $got = finish($second);
    is($got->{status}, 0, 'moto: --api url') or diag($got->{output});
    my $url = rest($port, 'lambda', '/2021-10-31/functions/two/url')->{FunctionUrl};
    is((split /\n/, $got->{output})[-1], ($url // '') =~ s{/?$}{/token}r, '... prints its URL');
    clean($got, '...');

    $second = start('delete.sh', [@at, '--name', 'two'], %moto);
    is(run('delete.sh', [@at, '--name', 'one'], %moto)->{output}, "Deleted the REST API $api.\n"
        . "Deleted the function one.\nDeleted the role one.\n"
        . "The log group /aws/lambda/one, if Lambda has made one, stays.\n", 'moto: delete.sh');
    is(finish($second)->{output}, "Deleted the function two.\nDeleted the role two.\n"
        . "The log group /aws/lambda/two, if Lambda has made one, stays.\n", '... for each name');
    is_deeply(rest($port, 'apigateway', '/restapis'), { item => [] }, '... no API is left');
    is_deeply(rest($port, 'lambda', '/2015-03-31/functions')->{Functions}, [], '... no function');
    unlike(role($port, 'two') . role($port, 'one'), qr/<Role>|BasicExecution/, '... and no role');
}


# Runs a script: {status, output, aws, all, environment, left}. "aws" has the
# arguments of each call of the CLI, "all" those of all commands, and the output;
# "environment" is the file of it, with its mode; "left" are files that stay.
sub run { return finish(start(@_)) }


# The same in two parts: several can run at once.
sub start {
    my ($script, $arguments, %env) = @_;
    my $after = delete $env{TERM_AFTER};
    my $run = "$dir/runs/" . ++$runs;
    my %all = (%ENVIRONMENT, %env, PATH => "$dir/bin:/usr/bin:/bin", TMPDIR => "$run.tmp",
        CALLS => "$run.calls");

    mkdir "$run.tmp";

    if ($env{REAL_AWS}) {
        $all{PATH} .= ":$ENV{PATH}";
    }

    my @arguments = ($script eq 'create.sh' && !grep({ $_ eq '--zip' || $_ eq '--help' } @$arguments)
        ? ('--zip', $zip) : (), @$arguments);
    my $pid = fork // die "fork: $!\n";

    if ($pid == 0) {
        delete @ENV{grep { !defined $all{$_} } keys %all};
        $ENV{$_} = $all{$_} for grep { defined $all{$_} } keys %all;
        chdir "$dir/cwd";
        open STDOUT, '>', "$run.output";
        open STDERR, '>&', \*STDOUT;
        { no warnings 'exec'; exec "$LAMBDA/$script", @arguments }
        POSIX::_exit(127);
    }

    return { pid => $pid, run => $run, after => $after };
}


sub finish {
    my ($started) = @_;
    my ($pid, $run, $after) = @$started{qw(pid run after)};

    if ($after) {
        wait_for { slurp_or_empty("$run.calls") =~ /\0$after\0/ };
        kill TERM => $pid;

        # bash waits for the command that it has started
        wait_for { kill TERM => descendants($pid); waitpid($pid, POSIX::WNOHANG) == $pid } 20;
    } else {
        waitpid $pid, 0;
    }

    my $status = $? >> 8;
    my $calls = slurp_or_empty("$run.calls");
    my $output = slurp("$run.output");

    return { status => $status, output => $output, all => $calls . $output,
        environment => slurp_or_empty("$run.calls.environment"), left => [glob "$run.tmp/*"],
        aws => [map { join ' ', (split /\0/)[1 .. (split /\0/) - 1] } grep { /^aws\0/ } split /\n/, $calls] };
}


sub descendants {
    my ($pid) = @_;
    my @children = split ' ', slurp_or_empty("/proc/$pid/task/$pid/children");

    return map { (descendants($_), $_) } @children;
}


# The commands of the CLI, in order.
sub steps {
    my ($got) = @_;

    return map { /(?:iam|lambda|apigateway) (\S+)/ ? $1 : () }
        grep { !/generate-cli-skeleton/ } @{ $got->{aws} };
}


sub clean {
    my ($got, $what) = @_;

    ok(index($got->{all}, $SECRET) < 0 && $got->{all} !~ /my-key-7|sec.{0,2}ret\$/,
        "$what no secret is in an argument or shown");
    is_deeply($got->{left}, [], "$what and no file is left");
    return;
}


# What moto has. It learns from the signature which service is asked.
sub ask {
    my ($port, $service, $method, $path, $content) = @_;

    return HTTP::Tiny->new(timeout => 20)->request($method, "http://127.0.0.1:$port$path", {
        content => $content, headers => { Authorization => 'AWS4-HMAC-SHA256 Credential='
            . "a/20260101/eu-west-1/$service/aws4_request, SignedHeaders=host, Signature=x",
            'Content-Type' => 'application/x-www-form-urlencoded' } })->{content};
}


sub rest {
    my ($port, $service, $path) = @_;

    return eval { decode_json(ask($port, $service, GET => $path)) } // {};
}


sub role {
    my ($port, $name) = @_;

    return join '', map { ask($port, 'iam', POST => '/', "Action=$_&Version=2010-05-08&RoleName=$name") }
        'GetRole', 'ListAttachedRolePolicies';
}
