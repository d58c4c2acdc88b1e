{-# LANGUAGE OverloadedStrings #-}

-- | Call an owt server from Haskell.
--
-- > runghc owt.hs [URL]
--
-- It needs http-conduit and aeson: on Debian, apt-get install ghc libghc-http-conduit-dev libghc-aeson-dev.
module Main (main) where

import Data.Aeson (FromJSON (..), Value (..), eitherDecode, encode, object, withObject, (.!=), (.:), (.:?), (.=))
import qualified Data.Aeson.Key as Key
import Data.Aeson.Types (Pair)
import qualified Data.ByteString.Lazy as Bytes
import qualified Data.ByteString.Lazy.Char8 as Lines
import Data.IORef (newIORef, readIORef, writeIORef)
import Data.Maybe (fromMaybe, listToMaybe)
import Data.Text (Text)
import qualified Data.Text as Text
import Data.Text.Encoding (decodeUtf8With, encodeUtf8)
import Data.Text.Encoding.Error (lenientDecode)
import qualified Data.Text.IO as Text
import Network.HTTP.Conduit (RequestBody (..), responseTimeoutNone)
import Network.HTTP.Simple
import System.Environment (getArgs)

-- | A server's URL, and fields of every request to it, such as @"session" .= "tour"@.
data Server = Server String [Pair]

-- | The cause of a failed call: members of a problem document (RFC 9457).
data Problem = Problem {status :: Int, title, detail, traceback :: Text}
  deriving (Show)

instance FromJSON Problem where
  parseJSON = withObject "problem" $ \problem ->
    Problem
      <$> problem .: "status"
      <*> problem .: "title"
      <*> problem .:? "detail" .!= ""
      <*> problem .:? "traceback" .!= ""

-- | Call @code@ with these arguments. Throws an @HttpException@ if no server answers.
call :: Server -> Text -> [Pair] -> IO (Either Problem Bytes.ByteString)
call (Server url fields) code kwargs = do
  request <- parseRequest ("POST " <> url)
  answer (setRequestBodyJSON (object ("code" .= code : "kwargs" .= object kwargs : fields)) request)

-- | Call @code@ with these arguments and a body, which the adaptor reads from @request.stream@ while it is sent. Each
-- part of the body is sent as soon as it is produced, so the body may be larger than the memory.
--
-- http-client reads the answer when it has sent the body. So the adaptor must not send more than the server's
-- @--window@ before it has read the body, or else both sides wait.
stream :: Server -> Text -> [Pair] -> Bytes.ByteString -> IO (Either Problem Bytes.ByteString)
stream (Server url fields) code kwargs body = do
  request <- parseRequest ("POST " <> url)
  unsent <- newIORef (Bytes.toChunks body)
  let next = readIORef unsent >>= sent
      sent [] = pure ""
      sent (part : rest) = part <$ writeIORef unsent rest
      called = "code" .= code : "kwargs" .= object kwargs : fields
  answer
    . setRequestQueryString [(encodeUtf8 (Key.toText name), Just (field value)) | (name, value) <- called]
    . setRequestHeader "Content-Type" ["application/octet-stream"]
    . setRequestBody (RequestBodyStreamChunked ($ next))
    $ request
  where
    field (String text) = encodeUtf8 text
    field value = Bytes.toStrict (encode value)

-- | Send a request and return the answer, which may take any time.
answer :: Request -> IO (Either Problem Bytes.ByteString)
answer request = do
  response <-
    httpLBS
      . setRequestResponseTimeout responseTimeoutNone
      . setRequestHeader "Accept" ["application/problem+json, */*"]
      $ request
  let body = getResponseBody response
      failed = getResponseStatusCode response
      plain = Problem failed "the adaptor answered with an error" (decodeUtf8With lenientDecode (Bytes.toStrict body)) ""
  pure $
    if failed < 400
      then Right body
      else Left (either (const plain) id (eitherDecode body))

-- | Call @code@ and decode its answer from JSON.
callJSON :: FromJSON a => Server -> Text -> [Pair] -> IO (Either Problem a)
callJSON server code kwargs = (>>= decoded) <$> call server code kwargs
  where
    decoded body = either (Left . notJSON) Right (eitherDecode body)
    notJSON message = Problem 200 "the answer is not the expected JSON" (Text.pack message) ""

main :: IO ()
main = do
  url <- fromMaybe "http://127.0.0.1:9876" . listToMaybe <$> getArgs
  let owt = Server url []
      session = Server url ["session" .= ("haskell" :: Text)]

  -- The code and its arguments.
  greeting <- call owt "def run(name): return f'Hello, {name}!'" ["name" .= ("owt" :: Text)]
  either (Text.putStr . traceback) Lines.putStrLn greeting

  -- A session keeps its variables from call to call.
  _ <- call session "numbers = list(range(10))" []
  squares <- callJSON session "[n * n for n in numbers if n % 2]" []
  either (Text.putStr . traceback) print (squares :: Either Problem [Int])

  -- A body is sent while it is produced. This one has no end; the adaptor reads its first lines.
  let numbers = Lines.unlines (map (Lines.pack . show) [1 :: Int ..])
      sumOf = "import itertools\ndef run(n): return sum(map(int, itertools.islice(request.stream, n)))"
  total <- stream owt sumOf ["n" .= (1000 :: Int)] numbers
  either (Text.putStr . traceback) Lines.putStrLn total

  -- A failure is a value, too.
  failure <- callJSON owt "def run(n): return 1 / n" ["n" .= (0 :: Int)]
  case failure of
    Left problem -> Text.putStrLn ("failed with " <> Text.pack (show (status problem)) <> ": " <> detail problem)
    Right value -> print (value :: Value)
